// The door: every array is checked for type, layout and shape before the engine sees a pointer.
#include <algorithm>
#include <cstdlib>
#include <memory>

#include <pybind11/stl.h>

#include "door/door.hpp"
#include "qp/analysis.hpp"

namespace {

// Most variables, inequalities and equalities: sizes beyond these could not be counted in an int.
constexpr long LARGEST[3] = {20000, 100000, 20000};

cl::Data read(const Array& Q, const Array& q, const Array& G, const Array& h, const Array& A, const Array& b,
              long batch, const char* q_name = "q", const char* h_name = "h", const char* b_name = "b") {
    if (q.ndim() < 1 || h.ndim() < 1 || b.ndim() < 1) throw py::value_error("q, h and b must have at least one axis");
    const long n = q.shape(q.ndim() - 1), m = h.shape(h.ndim() - 1), p = b.shape(b.ndim() - 1);
    if (n < 1 || n > LARGEST[0] || m > LARGEST[1] || p > LARGEST[2]) throw py::value_error("sizes out of range for the native engine");
    cl::Data d{};
    d.n = (int)n;
    d.m = (int)m;
    d.p = (int)p;
    d.batch = batch;
    d.Q = block(Q, "Q", batch, {n, n}, &d.Q_stride);
    d.q = block(q, q_name, batch, {n}, &d.q_stride);
    d.G = block(G, "G", batch, {m, n}, &d.G_stride);
    d.h = block(h, h_name, batch, {m}, &d.h_stride);
    d.A = block(A, "A", batch, {p, n}, &d.A_stride);
    d.b = block(b, b_name, batch, {p}, &d.b_stride);
    return d;
}

// Solve into the arrays of x, which may hold r; returns the largest error, infinite where one is not a number. The structure of solved problems
// is known.
double linearised(const cl::Data& data, const cl::Solved* solved, const cl::Linearised& call, int threads) {
    {
        const py::gil_scoped_release release;
        const auto structure = solved ? solved->structure : cl::analyse(data);
        cl::solve_linearised(chosen(), data, structure.get(), call, threads, signalled);
    }
    if (PyErr_Occurred()) throw py::error_already_set();
    return cl::largest(call.error, data.batch);
}

py::tuple solve_linearised(const Array& Q, const Array& G, const Array& A, const Array& kind, const Array& status,
                           const Array& r_z, const Array& r_lam, const Array& r_nu, bool transpose, int threads) {
    const Rows rows{r_z.ndim() > 1, r_z.ndim() > 1 ? r_z.shape(0) : 1};
    const long batch = rows.batch;
    const cl::Data data = read(Q, r_z, G, r_lam, A, r_nu, batch, "r_z", "r_lam", "r_nu");
    const long n = data.n, m = data.m, p = data.p;
    auto x_z = rows.of({n}), x_lam = rows.of({m}), x_nu = rows.of({p}), error = rows.of({});
    const cl::Linearised call{block<signed char>(kind, "kind", batch, {m}, nullptr), block<long long>(status, "status", batch, {}, nullptr),
                              block(r_z, "r_z", batch, {n}, nullptr), block(r_lam, "r_lam", batch, {m}, nullptr), block(r_nu, "r_nu", batch, {p}, nullptr), transpose,
                              x_z.mutable_data(), x_lam.mutable_data(), x_nu.mutable_data(), error.mutable_data()};
    const double largest = linearised(data, nullptr, call, threads);
    return py::make_tuple(x_z, x_lam, x_nu, error, largest);
}

// x = −cotangent, or zero where there is none.
void negate(const py::object& given, const char* name, long batch, long size, double* x) {
    if (given.is_none()) return (void)std::fill(x, x + batch * size, 0.0);
    const Array cotangent = Array::of(given);
    const double* from = block(cotangent, name, batch, {size}, nullptr);
    for (long i = 0; i < batch * size; ++i) x[i] = -from[i];
}

// One solved batch behind a handle: arrays are copied out when they are asked for, and the derivative needs no array from outside but the
// matrices of the problem and the cotangents.
struct Handle {
    Rows rows;
    int n, m, p;
    cl::Solved solved;

    template <class S>
    py::array_t<S> copy(const std::vector<S>& from, std::initializer_list<long> core) const {
        auto out = rows.of<S>(core);
        std::copy(from.begin(), from.end(), out.mutable_data());
        return out;
    }
    py::array_t<double> z() const { return copy(solved.z, {n}); }
    py::tuple arrays() const {
        return py::make_tuple(z(), copy(solved.lam, {m}), copy(solved.nu, {p}), copy(solved.s, {m}), copy(solved.objective, {}),
                              copy(solved.residuals, {6}), copy(solved.kind, {m}), copy(solved.status, {}), copy(solved.iterations, {}));
    }

    // Gradients of (Q, G, A) where wanted, and of (q, h, b), by equation 8 (layers/qp/gradients.py): with K d = −cotangents, q̄ = d_z,
    // h̄ = −d_λ, b̄ = −d_ν; and the largest backward error of the linear solve.
    py::tuple pull_back(const Array& Q, const Array& G, const Array& A, const py::object& z_bar, const py::object& lam_bar,
                        const py::object& nu_bar, const std::array<bool, 3>& wanted, int threads, int copies) const {
        const long batch = rows.batch;
        auto q_bar = rows.of({n}), h_bar = rows.of({m}), b_bar = rows.of({p}), error = rows.of({});
        double *dz = q_bar.mutable_data(), *dl = h_bar.mutable_data(), *dn = b_bar.mutable_data();
        negate(z_bar, "cotangent of z", batch, n, dz);
        negate(lam_bar, "cotangent of lam", batch, m, dl);
        negate(nu_bar, "cotangent of nu", batch, p, dn);
        cl::Data data{};
        data.n = n;
        data.m = m;
        data.p = p;
        data.batch = batch;
        data.Q = block(Q, "Q", batch, {n, n}, &data.Q_stride);
        data.G = block(G, "G", batch, {m, n}, &data.G_stride);
        data.A = block(A, "A", batch, {p, n}, &data.A_stride);
        data.q = dz;
        data.h = dl;
        data.b = dn;
        data.q_stride = n;
        data.h_stride = m;
        data.b_stride = p;
        const double largest =
            linearised(data, &solved, {solved.kind.data(), solved.status.data(), dz, dl, dn, true, dz, dl, dn, error.mutable_data()}, threads);
        const double *z = solved.z.data(), *lam = solved.lam.data(), *nu = solved.nu.data();
        const cl::Outer pairs[3] = {
            {batch, n, n, dz, z, z, dz, 0.5, nullptr}, {batch, m, n, lam, dz, dl, z, 1, nullptr}, {batch, p, n, nu, dz, dn, z, 1, nullptr}};
        py::object matrices[3];
        for (int i = 0; i < 3; ++i) {
            matrices[i] = py::none();
            if (!wanted[i]) continue;
            auto out = rows.of({pairs[i].rows, n});
            cl::Outer pair = pairs[i];
            pair.out = out.mutable_data();
            {
                const py::gil_scoped_release release;
                cl::outer_pair(pair, copies);
            }
            matrices[i] = std::move(out);
        }
        for (long i = 0; i < batch * m; ++i) dl[i] = -dl[i];
        for (long i = 0; i < batch * p; ++i) dn[i] = -dn[i];
        return py::make_tuple(py::make_tuple(matrices[0], matrices[1], matrices[2]), py::make_tuple(q_bar, h_bar, b_bar), largest);
    }
};

std::unique_ptr<Handle> solve(const Array& Q, const Array& q, const Array& G, const Array& h, const Array& A, const Array& b,
                              const py::object& given_batch, double tol, double rounding, int max_iterations, int threads,
                              const py::object& guess, bool interior) {
    const Rows rows{!given_batch.is_none(), given_batch.is_none() ? 1 : given_batch.cast<long>()};
    const long batch = rows.batch;
    const cl::Data data = read(Q, q, G, h, A, b, batch);
    cl::Options options{tol, rounding, max_iterations, threads, nullptr, nullptr, nullptr, nullptr, interior && !guess.is_none()};
    Array given[4];
    if (!guess.is_none()) {
        const auto parts = guess.cast<py::tuple>();
        if (parts.size() != 4) throw py::value_error("a guess consists of z, lam, nu and s");
        for (int i = 0; i < 4; ++i) given[i] = Array::of(parts[i]);
        options.z = block(given[0], "warm_start.z", batch, {data.n}, nullptr);
        options.lam = block(given[1], "warm_start.lam", batch, {data.m}, nullptr);
        options.nu = block(given[2], "warm_start.nu", batch, {data.p}, nullptr);
        options.s = block(given[3], "warm_start.s", batch, {data.m}, nullptr);
    }
    auto handle = std::make_unique<Handle>(Handle{rows, data.n, data.m, data.p, {}});
    {
        const py::gil_scoped_release release;
        handle->solved = cl::Solved(chosen(), data, options, signalled);
    }
    if (PyErr_Occurred()) throw py::error_already_set();
    return handle;
}

}  // namespace

// CONVEX_LAYERS_LANES=4 or 2 takes a narrower instruction set than the processor has: for tests.
const cl::Kernels& chosen() {
    static const cl::Kernels& kernels = [&]() -> const cl::Kernels& {
        const char* asked = std::getenv("CONVEX_LAYERS_LANES");
        return cl::kernels(asked ? std::atoi(asked) : 8);
    }();
    return kernels;
}

bool signalled() {
    const py::gil_scoped_acquire gil;
    return PyErr_CheckSignals() != 0;
}

PYBIND11_MODULE(_core, module) {
    Array::prepare();
    module.doc() = "The compiled core behind layers/native.";
    module.def("solve", &solve, py::arg("Q"), py::arg("q"), py::arg("G"), py::arg("h"), py::arg("A"), py::arg("b"), py::arg("batch"), py::arg("tol"),
               py::arg("rounding"), py::arg("max_iterations"), py::arg("threads"), py::arg("guess"), py::arg("interior") = false);
    module.def("solve_linearised", &solve_linearised);
    py::class_<Handle>(module, "Solved")
        .def_property_readonly("settled", [](const Handle& handle) { return handle.solved.settled(); })
        .def_property_readonly("told", [](const Handle& handle) { return handle.solved.told(); })
        .def("status", [](const Handle& handle) { return handle.copy(handle.solved.status, {}); })
        .def("z", &Handle::z)
        .def("arrays", &Handle::arrays)
        .def("pull_back", &Handle::pull_back);
    bind_cones(module);
    bind_program(module);
    bind_constants(module);
    module.attr("LARGEST") = py::make_tuple(LARGEST[0], LARGEST[1], LARGEST[2]);
    module.def("lanes", [] { return chosen().lanes; }, "Problems that are solved side by side in one register.");
}
