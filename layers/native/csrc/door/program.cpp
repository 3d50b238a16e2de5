// The door of program.hpp.
#include <pybind11/stl.h>

#include "door/door.hpp"
#include "qp/program.hpp"

namespace {

using Shape = std::vector<py::ssize_t>;
using Numbers = py::array_t<double, py::array::c_style | py::array::forcecast>;
using Indices = py::array_t<long, py::array::c_style | py::array::forcecast>;
// (i, j, column, weight) of the entries in one source
using Entries = std::tuple<int, Indices, Indices, Indices, Numbers>;
// rows, columns, constant, entries
using Part = std::tuple<long, long, Numbers, std::vector<Entries>>;
// piece, place, weight
using Picks = std::tuple<Indices, Indices, Numbers>;

[[noreturn]] void refuse(const std::string& what) { throw py::value_error("a program's " + what + " do not fit each other"); }

void check(const Indices& indices, long limit, const char* what) {
    for (py::ssize_t k = 0; k < indices.size(); ++k)
        if (indices.at(k) < 0 || indices.at(k) >= limit) refuse(what);
}

cl::AffinePart::Entries read(const Entries& given, const cl::AffinePart& part, const std::vector<long>& widths) {
    const auto& [source, i, j, column, weight] = given;
    const auto count = weight.size();
    if (source < 0 || source >= (long)widths.size() || i.ndim() != 1 || j.ndim() != 1 || column.ndim() != 1 || weight.ndim() != 1 ||
        i.size() != count || j.size() != count || column.size() != count)
        refuse("entries");
    check(i, part.rows, "rows");
    check(j, part.columns, "columns");
    check(column, widths[source], "sources");
    cl::AffinePart::Entries out;
    out.source = source;
    out.i.assign(i.data(), i.data() + count);
    out.j.assign(j.data(), j.data() + count);
    out.column.assign(column.data(), column.data() + count);
    out.weight.assign(weight.data(), weight.data() + count);
    return out;
}

std::shared_ptr<cl::Family> make(const std::array<int, 4>& sizes, const std::vector<long>& widths, const std::vector<Part>& parts,
                                 const std::vector<Picks>& variables) {
    auto f = std::make_shared<cl::Family>();
    f->n = sizes[0];
    f->m = sizes[1];
    f->p = sizes[2];
    f->w = sizes[3];
    f->widths = widths;
    f->weighted = parts.size() == cl::PARTS;
    if (f->n < 1 || f->m < 0 || f->p < 0 || f->w < 0 || parts.size() < cl::PARTS - 1 || parts.size() > cl::PARTS) refuse("sizes");
    const long n = f->n, m = f->m, p = f->p, w = f->w;
    const long rows[cl::PARTS] = {n, n, m, m, p, p, w, w, w}, columns[cl::PARTS] = {n, 1, n, 1, n, 1, n, 1, 1};
    for (std::size_t k = 0; k < parts.size(); ++k) {
        const auto& [height, width, constant, entries] = parts[k];
        cl::AffinePart& part = f->parts[k];
        part.rows = height;
        part.columns = width;
        if (height != rows[k] || width != columns[k] || constant.size() != part.size()) refuse("parts");
        part.constant.assign(constant.data(), constant.data() + constant.size());
        for (const Entries& each : entries) part.sources.push_back(read(each, part, widths));
    }
    for (const auto& [piece, place, weight] : variables) {
        if (piece.size() != weight.size() || place.size() != weight.size()) refuse("variables");
        check(piece, 3, "pieces");
        auto& picks = f->variables.emplace_back();
        for (py::ssize_t k = 0; k < weight.size(); ++k) {
            if (place.at(k) < 0 || place.at(k) >= f->length((int)piece.at(k))) refuse("places");
            picks.push_back({(int)piece.at(k), place.at(k), weight.at(k)});
        }
    }
    return f;
}

// The variables, shaped as asked, and the solved batch; None where the core has not solved every element beyond doubt.
py::object solve(const std::shared_ptr<cl::Family>& family, const py::sequence& values, const std::vector<Shape>& shapes, long batch, double tol,
                 double rounding, int max_iterations, int threads) {
    const std::size_t count = family->widths.size();
    if (values.size() != count || shapes.size() != family->variables.size() || batch < 1) refuse("values");
    std::vector<Array> given;
    cl::Sources sources{batch, {}, {}};
    for (std::size_t k = 0; k < count; ++k) {
        given.push_back(Array::of(values[k]));
        const long entries = given[k].count(), width = family->widths[k];
        if (entries != width && entries != batch * width) refuse("values");
        sources.values.push_back(checked<double>(given[k], "a value"));
        sources.batched.push_back(entries != width);
    }
    std::vector<Numbers> out;
    std::shared_ptr<cl::SolvedFamily> solved;
    for (const Shape& shape : shapes) out.emplace_back(shape);
    for (std::size_t k = 0; k < out.size(); ++k)
        if (out[k].size() != batch * (long)family->variables[k].size()) refuse("shapes");
    {
        const py::gil_scoped_release release;
        const cl::Options options{tol, rounding, max_iterations, threads, nullptr, nullptr, nullptr, nullptr, false};
        solved = std::make_shared<cl::SolvedFamily>(family, chosen(), sources, options, signalled);
    }
    if (PyErr_Occurred()) throw py::error_already_set();
    if (!solved->settled()) return py::none();
    py::tuple variables(out.size());
    for (std::size_t k = 0; k < out.size(); ++k) {
        solved->variable((long)k, out[k].mutable_data());
        variables[k] = std::move(out[k]);
    }
    return py::make_tuple(std::move(variables), solved);
}

// Gradients of the values that are needed, shaped as asked; None if the linear solve misses `tol`.
py::object pull_back(const cl::SolvedFamily& solved, const py::sequence& bars, const std::vector<bool>& needed, const std::vector<Shape>& shapes,
                     double tol, int threads) {
    const cl::Family& f = solved.family();
    if (bars.size() != f.variables.size() || needed.size() != f.widths.size() || shapes.size() != f.widths.size()) refuse("cotangents");
    std::vector<Array> given;
    std::vector<const double*> from;
    for (std::size_t k = 0; k < f.variables.size(); ++k) {
        if (py::object(bars[k]).is_none()) {
            given.emplace_back();
            from.push_back(nullptr);
            continue;
        }
        given.push_back(Array::of(bars[k]));
        if (given[k].count() != solved.batch() * (long)f.variables[k].size()) refuse("cotangents");
        from.push_back(checked<double>(given[k], "a cotangent"));
    }
    std::vector<double*> into(f.widths.size(), nullptr);
    py::tuple out(f.widths.size());
    for (std::size_t k = 0; k < f.widths.size(); ++k) {
        if (!needed[k]) {
            out[k] = py::none();
            continue;
        }
        Numbers gradient(shapes[k]);
        if (gradient.size() != (solved.batched((long)k) ? solved.batch() : 1) * f.widths[k]) refuse("shapes");
        into[k] = gradient.mutable_data();
        out[k] = std::move(gradient);
    }
    double largest;
    {
        const py::gil_scoped_release release;
        largest = solved.pull_back(chosen(), from, into, threads, signalled);
    }
    if (PyErr_Occurred()) throw py::error_already_set();
    if (!(largest <= tol)) return py::none();
    return std::move(out);
}

}  // namespace

void bind_program(py::module_& module) {
    py::class_<cl::SolvedFamily, std::shared_ptr<cl::SolvedFamily>>(module, "SolvedFamily").def("pull_back", &pull_back);
    py::class_<cl::Family, std::shared_ptr<cl::Family>>(module, "Family")
        .def(py::init(&make), py::arg("sizes"), py::arg("widths"), py::arg("parts"), py::arg("variables"))
        .def("solve", &solve);
}
