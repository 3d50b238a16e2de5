// The door: every array is checked for type, layout and shape before the engine sees a pointer.
#include <algorithm>
#include <cstdlib>
#include <memory>

#include <pybind11/stl.h>

#include "door/door.hpp"

namespace {

// Most variables, inequalities and equalities: sizes beyond these could not be counted in an int.
constexpr long LARGEST[3] = {20000, 100000, 20000};

cl::Data read(const Array& Q, const Array& q, const Array& G, const Array& h, const Array& A, const Array& b,
              long batch, const char* q_name = "q", const char* h_name = "h", const char* b_name = "b") {
    if (q.ndim() < 1 || h.ndim() < 1 || b.ndim() < 1) throw py::value_error("q, h and b must have at least one axis");
    const long n = q.shape(q.ndim() - 1), m = h.shape(h.ndim() - 1), p = b.shape(b.ndim() - 1);
    if (n < 1 || n > LARGEST[0] || m > LARGEST[1] || p > LARGEST[2]) throw py::value_error("sizes out of range for the native engine");
    cl::Data d{};
    d.n = (int)n, d.m = (int)m, d.p = (int)p, d.batch = batch;
    d.Q = block(Q, "Q", batch, {n, n}, &d.Q_stride), d.q = block(q, q_name, batch, {n}, &d.q_stride);
    d.G = block(G, "G", batch, {m, n}, &d.G_stride), d.h = block(h, h_name, batch, {m}, &d.h_stride);
    d.A = block(A, "A", batch, {p, n}, &d.A_stride), d.b = block(b, b_name, batch, {p}, &d.b_stride);
    return d;
}

py::tuple solve(const Array& Q, const Array& q, const Array& G, const Array& h, const Array& A, const Array& b,
                const py::object& given_batch, double tol, double rounding, int max_iterations, int threads, const py::object& guess) {
    const Rows rows{!given_batch.is_none(), given_batch.is_none() ? 1 : given_batch.cast<long>()};
    const long batch = rows.batch;
    const cl::Data data = read(Q, q, G, h, A, b, batch);
    const long n = data.n, m = data.m, p = data.p;
    auto z = rows.of({n}), lam = rows.of({m}), nu = rows.of({p}), s = rows.of({m}), objective = rows.of({}), residuals = rows.of({3});
    auto kind = rows.of<signed char>({m});
    auto status = rows.of<long long>({}), iterations = rows.of<long long>({});
    cl::Options options{tol, rounding, max_iterations, threads, nullptr, nullptr, nullptr, nullptr};
    Array given[4];
    if (!guess.is_none()) {
        const auto parts = guess.cast<py::tuple>();
        if (parts.size() != 4) throw py::value_error("a guess consists of z, lam, nu and s");
        for (int i = 0; i < 4; ++i) given[i] = Array::of(parts[i]);
        options.z = block(given[0], "warm_start.z", batch, {n}, nullptr), options.lam = block(given[1], "warm_start.lam", batch, {m}, nullptr);
        options.nu = block(given[2], "warm_start.nu", batch, {p}, nullptr), options.s = block(given[3], "warm_start.s", batch, {m}, nullptr);
    }
    const cl::Answer answer{z.mutable_data(), lam.mutable_data(), nu.mutable_data(), s.mutable_data(), objective.mutable_data(),
                            residuals.mutable_data(), kind.mutable_data(), status.mutable_data(), iterations.mutable_data()};
    {
        const py::gil_scoped_release release;
        cl::solve(chosen(), data, options, answer, signalled);
    }
    if (PyErr_Occurred()) throw py::error_already_set();
    const long long* verdicts = status.data();
    const signed char* kinds = kind.data();
    const long long worst = batch > 0 ? *std::min_element(verdicts, verdicts + batch) : 0;
    const signed char least = batch * m > 0 ? *std::min_element(kinds, kinds + batch * m) : 0;
    return py::make_tuple(z, lam, nu, s, objective, residuals, kind, status, iterations, worst, (int)least);
}

// Solve into the arrays of x, which may hold r; returns the largest error, infinite where one is not a number.
double linearised(const cl::Data& data, const cl::Linearised& call, int threads) {
    {
        const py::gil_scoped_release release;
        cl::solve_linearised(chosen(), data, call, threads, signalled);
    }
    if (PyErr_Occurred()) throw py::error_already_set();
    return cl::largest(call.error, data.batch);
}

py::tuple solve_linearised(const Array& Q, const Array& G, const Array& A, const Array& kind, const Array& status,
                           const Array& r_z, const Array& r_lam, const Array& r_nu, int threads) {
    const Rows rows{r_z.ndim() > 1, r_z.ndim() > 1 ? r_z.shape(0) : 1};
    const long batch = rows.batch;
    const cl::Data data = read(Q, r_z, G, r_lam, A, r_nu, batch, "r_z", "r_lam", "r_nu");
    const long n = data.n, m = data.m, p = data.p;
    auto x_z = rows.of({n}), x_lam = rows.of({m}), x_nu = rows.of({p}), error = rows.of({});
    const cl::Linearised call{block<signed char>(kind, "kind", batch, {m}, nullptr), block<long long>(status, "status", batch, {}, nullptr),
                              block(r_z, "r_z", batch, {n}, nullptr), block(r_lam, "r_lam", batch, {m}, nullptr), block(r_nu, "r_nu", batch, {p}, nullptr),
                              x_z.mutable_data(), x_lam.mutable_data(), x_nu.mutable_data(), error.mutable_data()};
    const double largest = linearised(data, call, threads);
    return py::make_tuple(x_z, x_lam, x_nu, error, largest);
}

// x = −cotangent, or zero where there is none.
void negate(const py::object& given, const char* name, long batch, long size, double* x) {
    if (given.is_none()) return (void)std::fill(x, x + batch * size, 0.0);
    const Array cotangent = Array::of(given);
    const double* from = block(cotangent, name, batch, {size}, nullptr);
    for (long i = 0; i < batch * size; ++i) x[i] = -from[i];
}

// A solved batch, as its derivative needs it.
struct Point {
    const signed char* kind;
    const long long* status;
    const double *z, *lam, *nu;
};

// Gradients of (Q, G, A) where wanted, and of (q, h, b): with K d = −cotangents, q̄ = d_z, h̄ = −d_λ, b̄ = −d_ν. `data` needs Q, G and A.
py::tuple gradients(const Rows& rows, cl::Data data, const Point& at, const py::object& z_bar, const py::object& lam_bar, const py::object& nu_bar,
                    const std::array<bool, 3>& wanted, int threads, int copies) {
    const long n = data.n, m = data.m, p = data.p, batch = data.batch;
    auto q_bar = rows.of({n}), h_bar = rows.of({m}), b_bar = rows.of({p}), error = rows.of({});
    double *dz = q_bar.mutable_data(), *dl = h_bar.mutable_data(), *dn = b_bar.mutable_data();
    negate(z_bar, "cotangent of z", batch, n, dz), negate(lam_bar, "cotangent of lam", batch, m, dl), negate(nu_bar, "cotangent of nu", batch, p, dn);
    data.q = dz, data.h = dl, data.b = dn, data.q_stride = n, data.h_stride = m, data.b_stride = p;
    const cl::Linearised call{at.kind, at.status, dz, dl, dn, dz, dl, dn, error.mutable_data()};
    const double largest = linearised(data, call, threads);
    const cl::Outer pairs[3] = {
        {batch, n, n, dz, at.z, at.z, dz, 0.5, nullptr}, {batch, m, n, at.lam, dz, dl, at.z, 1, nullptr}, {batch, p, n, at.nu, dz, dn, at.z, 1, nullptr}};
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

py::tuple pull_back(const Array& Q, const Array& G, const Array& A, const Array& kind, const Array& status, const Array& z, const Array& lam,
                    const Array& nu, const py::object& z_bar, const py::object& lam_bar, const py::object& nu_bar,
                    const std::array<bool, 3>& wanted, int threads, int copies) {
    const Rows rows{z.ndim() > 1, z.ndim() > 1 ? z.shape(0) : 1};
    const cl::Data data = read(Q, z, G, lam, A, nu, rows.batch, "z", "lam", "nu");
    const Point at{block<signed char>(kind, "kind", rows.batch, {data.m}, nullptr), block<long long>(status, "status", rows.batch, {}, nullptr),
                   block(z, "z", rows.batch, {data.n}, nullptr), block(lam, "lam", rows.batch, {data.m}, nullptr),
                   block(nu, "nu", rows.batch, {data.p}, nullptr)};
    return gradients(rows, data, at, z_bar, lam_bar, nu_bar, wanted, threads, copies);
}

// The same two steps for who asks for z alone: the rest stays here.
struct Kept {
    Rows rows;
    int n, m, p;
    cl::Solved solved;

    py::tuple pull_back(const Array& Q, const Array& G, const Array& A, const py::object& z_bar, const std::array<bool, 3>& wanted, int threads,
                        int copies) const {
        cl::Data data{};
        data.n = n, data.m = m, data.p = p, data.batch = rows.batch;
        data.Q = block(Q, "Q", rows.batch, {n, n}, &data.Q_stride), data.G = block(G, "G", rows.batch, {m, n}, &data.G_stride);
        data.A = block(A, "A", rows.batch, {p, n}, &data.A_stride);
        const Point at{solved.kind.data(), solved.status.data(), solved.z.data(), solved.lam.data(), solved.nu.data()};
        return gradients(rows, data, at, z_bar, py::none(), py::none(), wanted, threads, copies);
    }
};

// z and what is kept; None where an element is not solved, or not all of its activity is told.
py::object solve_for_z(const Array& Q, const Array& q, const Array& G, const Array& h, const Array& A, const Array& b,
                       const py::object& given_batch, double tol, double rounding, int max_iterations, int threads) {
    const Rows rows{!given_batch.is_none(), given_batch.is_none() ? 1 : given_batch.cast<long>()};
    const cl::Data data = read(Q, q, G, h, A, b, rows.batch);
    auto out = rows.of({data.n});
    auto kept = std::make_unique<Kept>();
    {
        const py::gil_scoped_release release;
        const cl::Options options{tol, rounding, max_iterations, threads, nullptr, nullptr, nullptr, nullptr};
        *kept = {rows, data.n, data.m, data.p, cl::Solved(chosen(), data, options, signalled)};
    }
    if (PyErr_Occurred()) throw py::error_already_set();
    if (!kept->solved.settled()) return py::none();
    std::copy(kept->solved.z.begin(), kept->solved.z.end(), out.mutable_data());
    return py::make_tuple(std::move(out), std::move(kept));
}

py::array_t<double> outer_pair(const Array& u, const Array& v, const Array& w, const Array& x, double scale, int threads) {
    const long axes = u.ndim();
    if (axes < 1 || axes > 2 || v.ndim() != axes) throw py::value_error("u and v must both have one axis, or two");
    const Rows all{axes == 2, axes == 2 ? u.shape(0) : 1};
    const long batch = all.batch, rows = u.shape(axes - 1), columns = v.shape(axes - 1);
    auto out = all.of({rows, columns});
    const cl::Outer call{batch, rows, columns, block(u, "u", batch, {rows}, nullptr), block(v, "v", batch, {columns}, nullptr),
                         block(w, "w", batch, {rows}, nullptr), block(x, "x", batch, {columns}, nullptr), scale, out.mutable_data()};
    const py::gil_scoped_release release;
    cl::outer_pair(call, threads);
    return out;
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
    module.doc() = "The compiled core of layers/solvers/native.py.";
    module.def("solve", &solve);
    module.def("solve_linearised", &solve_linearised);
    module.def("pull_back", &pull_back);
    module.def("solve_for_z", &solve_for_z);
    py::class_<Kept>(module, "Kept").def("pull_back", &Kept::pull_back);
    module.def("outer_pair", &outer_pair);
    bind_cones(module), bind_program(module);
    module.attr("LARGEST") = py::make_tuple(LARGEST[0], LARGEST[1], LARGEST[2]);
    module.def("lanes", [] { return chosen().lanes; }, "Problems that are solved side by side in one register.");
}
