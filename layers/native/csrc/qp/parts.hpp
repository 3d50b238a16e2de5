// What rounding may leave in a row, part by part of a problem that nothing connects: layers/qp/kkt.py. Asked for few problems, and there
// rarely, so one number after the other.
#pragma once
#include <vector>

#include "qp/data.hpp"

namespace CORE {

constexpr double NOISE = 1e-7;  // terms below this multiple of what they could be count as that much in a row by itself
constexpr double ROUNDING = 1e-15;  // a gap that is less than this of the magnitudes in its sum is none: layers/qp/kkt.py

// The least sizes of the terms of all rows of one problem, in the units of the group.
template <class T, class M>
class Parts {
  public:
    std::vector<double> of_g, of_a, of_columns;
    bool several;

    // From x, the terms of the columns, and what rows may do to them.
    Parts(const Group<T, M>& group, int lane, const T* x, const T* columns, const T* pull)
        : several(false), g(group), at(lane), left(g.n), parent(g.n), part_g(g.m), part_a(g.p) {
        for (int j = 0; j < g.n; ++j) parent[j] = j;
        std::vector<int> unused(g.n);
        link(g.Q, unused);
        if (left > 1) link(g.G, part_g);
        if (left > 1) link(g.A, part_a);
        several = left > 1;
        if (several) measure(x, columns, pull);
    }

  private:
    struct Size { double z = 0, suggested = 0, q = 0, Q = 0, force = 0; };
    const Group<T, M>& g;
    int at, left;  // left: the number of parts as it is known
    std::vector<int> parent, part_g, part_a;

    double get(const T& value) const { return Lane<T>::get(value, at); }
    static double one(double x) { return x == 0 ? 1 : x; }
    static void raise_to(double& most, double value) { most = most > value ? most : value; }

    int top(int j) {
        while (parent[j] != j) j = parent[j] = parent[parent[j]];
        return j;
    }

    // The variables of each row belong together; a row of zeros goes with the first variable.
    void link(const M& matrix, std::vector<int>& part) {
        for (int& first : part) first = -1;
        matrix.nonzeros(at, [&](int i, int j) {
            if (left == 1) return;
            if (part[i] < 0) part[i] = j;
            const int one = top(j), other = top(part[i]);
            left -= one != other;
            parent[one] = other;
        });
        for (int& first : part) first = first < 0 ? 0 : first;
    }

    void measure(const T* x, const T* columns, const T* pull) {
        const double r = get(g.r), unit = r / get(g.c);
        std::vector<Size> sizes(g.n);
        for (int j = 0; j < g.n; ++j) {
            Size& size = sizes[top(j)];
            raise_to(size.z, r * get(g.D[j]) * absolute(get(x[j])));
            raise_to(size.q, unit * absolute(get(g.q[j])) / get(g.D[j]));
            raise_to(size.Q, get(g.Q_row[j]));
            raise_to(size.force, get(columns[j]) / get(g.D[j]));
        }
        const auto rows = [&](int count, const std::vector<int>& part, const T* right, const T* E, const T* row) {
            for (int i = 0; i < count; ++i)
                raise_to(sizes[top(part[i])].suggested, r * absolute(get(right[i])) / (get(E[i]) * one(get(row[i]))));
        };
        rows(g.m, part_g, g.h, g.Eg, g.g_row);
        rows(g.p, part_a, g.b, g.Ea, g.a_row);
        for (Size& size : sizes) {
            if (size.Q > 0) raise_to(size.suggested, size.q / size.Q);
            raise_to(size.z, smaller(one(size.suggested), 1.0));
            if (larger(size.q, size.Q * size.z) == 0) raise_to(size.force, 1 / unit);
        }
        for (int i = 0; i < g.m; ++i) of_g.push_back(NOISE * get(g.Eg[i]) * get(g.g_row[i]) * sizes[top(part_g[i])].z / r);
        for (int i = 0; i < g.p; ++i) of_a.push_back(NOISE * get(g.Ea[i]) * get(g.a_row[i]) * sizes[top(part_a[i])].z / r);
        for (int j = 0; j < g.n; ++j) {
            const Size& size = sizes[top(j)];
            of_columns.push_back(NOISE * larger(get(g.D[j]) * get(g.Q_row[j]) * size.z / unit, get(pull[j]) * size.force));
        }
    }
};

}  // namespace CORE
