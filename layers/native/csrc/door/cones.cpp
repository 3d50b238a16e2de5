// The door of the cone programs.
#include <pybind11/stl.h>

#include "door/door.hpp"

namespace {

// Most variables, and most rows, of a cone program, whose matrices are dense here.
constexpr long LARGEST_CONES = 1000;

// A pattern whose entries lie inside a matrix.
const long long* pattern(const Array& places, const char* name, long count, long limit) {
    const long long* place = block<long long>(places, name, 1, {count}, nullptr);
    for (long k = 0; k < count; ++k)
        if (place[k] < 0 || place[k] >= limit) throw py::value_error(std::string(name) + " has an entry outside of its matrix");
    return place;
}

// Cones are (zero, nonneg, sizes of second-order cones); `soc` keeps the sizes while the program is in use.
cl::ConeData read_cones(const py::tuple& cones, const py::tuple& places, const Array& P, const Array& q, const Array& A, const Array& b,
                        const char* q_name, const char* b_name, std::vector<int>& soc) {
    if (cones.size() != 3 || places.size() != 4) throw py::value_error("cones are (zero, nonneg, soc), and patterns four arrays");
    if (q.ndim() != 2 || b.ndim() != 2) throw py::value_error(std::string(q_name) + " and " + b_name + " must have two axes");
    const long batch = q.shape(0), n = q.shape(1), m = b.shape(1);
    if (n < 1 || n > LARGEST_CONES || m > LARGEST_CONES) throw py::value_error("sizes out of range for the native engine");
    soc = cones[2].cast<std::vector<int>>();
    cl::ConeData d{};
    d.n = (int)n;
    d.m = (int)m;
    d.batch = batch;
    d.zero = cones[0].cast<int>();
    d.nonneg = cones[1].cast<int>();
    d.socs = (int)soc.size();
    d.soc = soc.data();
    long rows = (long)d.zero + d.nonneg;
    bool good = d.zero >= 0 && d.nonneg >= 0;
    for (const int size : soc) {
        rows += size;
        good = good && size > 1;
    }
    if (!good || rows != m) throw py::value_error("the cones do not fit " + std::string(b_name));
    Array place[4];
    for (int i = 0; i < 4; ++i) place[i] = Array::of(places[i]);
    if (place[0].ndim() != 1 || place[2].ndim() != 1) throw py::value_error("a pattern must have one axis");
    const long P_count = place[0].shape(0), A_count = place[2].shape(0);
    d.P_count = (int)P_count;
    d.A_count = (int)A_count;
    d.P_row = pattern(place[0], "P_rows", P_count, n);
    d.P_column = pattern(place[1], "P_cols", P_count, n);
    d.A_row = pattern(place[2], "A_rows", A_count, m);
    d.A_column = pattern(place[3], "A_cols", A_count, n);
    d.P = block(P, "P", batch, {P_count}, &d.P_stride);
    d.A = block(A, "A", batch, {A_count}, &d.A_stride);
    d.q = block(q, q_name, batch, {n}, nullptr);
    d.b = block(b, b_name, batch, {m}, nullptr);
    return d;
}

py::tuple solve_cones(const py::tuple& cones, const py::tuple& places, const Array& P, const Array& q, const Array& A, const Array& b,
                      int max_iterations, int threads) {
    std::vector<int> soc;
    const cl::ConeData data = read_cones(cones, places, P, q, A, b, "q", "b", soc);
    const Rows rows{true, data.batch};
    auto x = rows.of({data.n}), y = rows.of({data.m}), s = rows.of({data.m});
    auto status = rows.of<long long>({}), iterations = rows.of<long long>({});
    const cl::ConeAnswer answer{x.mutable_data(), y.mutable_data(), s.mutable_data(), status.mutable_data(), iterations.mutable_data()};
    {
        const py::gil_scoped_release release;
        cl::solve_cones(chosen(), data, max_iterations, threads, answer, signalled);
    }
    if (PyErr_Occurred()) throw py::error_already_set();
    return py::make_tuple(x, y, s, status, iterations);
}

py::tuple solve_cones_linearised(const py::tuple& cones, const py::tuple& places, const Array& P, const Array& A, const Array& y,
                                 const Array& s, const Array& r1, const Array& r2, int threads) {
    std::vector<int> soc;
    const cl::ConeData data = read_cones(cones, places, P, r1, A, r2, "r1", "r2", soc);
    const Rows rows{true, data.batch};
    auto dx = rows.of({data.n}), dy = rows.of({data.m}), error = rows.of({});
    const cl::ConeLinearised call{block(y, "y", data.batch, {data.m}, nullptr), block(s, "s", data.batch, {data.m}, nullptr), data.q, data.b,
                                  dx.mutable_data(), dy.mutable_data(), error.mutable_data()};
    {
        const py::gil_scoped_release release;
        cl::solve_cones_linearised(chosen(), data, call, threads, signalled);
    }
    if (PyErr_Occurred()) throw py::error_already_set();
    return py::make_tuple(dx, dy, error);
}

}  // namespace

void bind_cones(py::module_& module) {
    module.def("solve_cones", &solve_cones);
    module.def("solve_cones_linearised", &solve_cones_linearised);
}
