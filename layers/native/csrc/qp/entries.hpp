// The entries of a matrix that are not zero, by rows: for what is done once for an element, outside of the kernels.
#pragma once
#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "qp/structure.hpp"

namespace convex_layers {

using Vector = std::vector<double>;

inline double or_one(double x) { return x == 0 ? 1 : x; }
inline double nearest_power(double x) { return std::exp2(std::round(std::log2(x))); }
inline double largest(const Vector& v) {
    double most = 0;
    for (double x : v) most = std::max(most, std::fabs(x));
    return most;
}

class Entries {
  public:
    int rows = 0, columns;
    std::vector<int> start{0}, column;
    Vector value;

    explicit Entries(int columns_) : columns(columns_) {}
    // ½(M + Mᵀ) of a square matrix; here and below a pattern, if there is one, says where M may have entries
    static Entries symmetric(const double* M, int n, const Pattern* pattern) {
        Entries out(n);
        for (int i = 0; i < n; ++i) out.append(i, pattern, [&](int j) { return 0.5 * (M[(long)i * n + j] + M[(long)j * n + i]); });
        return out;
    }

    // Row i of M, or rows 0 to `count`
    void append_row(const double* M, int i, const Pattern* pattern) {
        append(i, pattern, [&](int j) { return M[(long)i * columns + j]; });
    }
    void append_rows(const double* M, int count, const Pattern* pattern) {
        for (int i = 0; i < count; ++i) append_row(M, i, pattern);
    }
    // A row of another matrix, its column j at place[j]
    void append(const Entries& from, int i, const std::vector<int>& place) {
        from.row(i, [&](int j, double a) {
            column.push_back(place[j]);
            value.push_back(a);
        });
        ++rows;
        start.push_back((int)column.size());
    }
    template <class Use>
    void row(int i, const Use& use) const {
        for (int k = start[i]; k < start[i + 1]; ++k) use(column[k], value[k]);
    }
    template <class Use>
    void each(const Use& use) const {
        for (int i = 0; i < rows; ++i)
            for (int k = start[i]; k < start[i + 1]; ++k) use(i, column[k], value[k]);
    }
    void scale(const double* left, const Vector& right) {
        for (int i = 0; i < rows; ++i)
            for (int k = start[i]; k < start[i + 1]; ++k) value[k] *= left[i] * right[column[k]];
    }
    Vector row_max() const {
        Vector y(rows, 0.0);
        each([&](int i, int, double a) { y[i] = std::max(y[i], std::fabs(a)); });
        return y;
    }
    Vector column_max() const {
        Vector x(columns, 0.0);
        each([&](int, int j, double a) { x[j] = std::max(x[j], std::fabs(a)); });
        return x;
    }
    // y += M x and x += Mᵀ y, or the same of magnitudes
    void add(const double* x, double* y) const {
        each([&](int i, int j, double a) { y[i] += a * x[j]; });
    }
    void add_transposed(const double* y, double* x) const {
        each([&](int i, int j, double a) { x[j] += a * y[i]; });
    }
    void add_sizes(const double* x, double* y) const {
        each([&](int i, int j, double a) { y[i] += std::fabs(a * x[j]); });
    }
    void add_sizes_transposed(const double* y, double* x) const {
        each([&](int i, int j, double a) { x[j] += std::fabs(a * y[i]); });
    }

  private:
    template <class At>
    void append(int i, const Pattern* pattern, const At& at) {
        const auto add = [&](int j) {
            const double a = at(j);
            if (a != 0) column.push_back(j), value.push_back(a);
        };
        if (pattern)
            for (int k = pattern->start[i]; k < pattern->start[i + 1]; ++k) add(pattern->column[k]);
        else
            for (int j = 0; j < columns; ++j) add(j);
        ++rows;
        start.push_back((int)column.size());
    }
};

// The part that every variable and every row of C belongs to, where entries of H and rows of C connect variables: one of its variables. A row
// of zeros is in none, −1.
inline std::vector<int> parts_of(const Entries& H, const Entries& C, std::vector<int>& of_rows) {
    std::vector<int> parent(H.columns);
    std::iota(parent.begin(), parent.end(), 0);
    const auto root = [&](int i) {
        while (parent[i] != i) i = parent[i] = parent[parent[i]];
        return i;
    };
    H.each([&](int i, int j, double) { parent[root(i)] = root(j); });
    C.each([&](int i, int j, double) { parent[root(C.column[C.start[i]])] = root(j); });
    std::vector<int> label(H.columns);
    for (int j = 0; j < H.columns; ++j) label[j] = root(j);
    of_rows.assign(C.rows, -1);
    for (int i = 0; i < C.rows; ++i)
        if (C.start[i] < C.start[i + 1]) of_rows[i] = label[C.column[C.start[i]]];
    return label;
}

// The variables and the rows of C of every part, in order, and where each variable stands in its own; a row of zeros goes with the first variable.
struct Division {
    std::vector<std::vector<int>> variables, rows;
    std::vector<int> place;

    Division(const Entries& H, const Entries& C) : place(H.columns) {
        std::vector<int> of_rows, number(H.columns, -1);
        const std::vector<int> label = parts_of(H, C, of_rows);
        for (int j = 0; j < H.columns; ++j) {
            int& own = number[label[j]];
            if (own < 0) own = (int)variables.size(), variables.emplace_back();
            place[j] = (int)variables[own].size();
            variables[own].push_back(j);
        }
        rows.resize(variables.size());
        for (int i = 0; i < C.rows; ++i) rows[number[of_rows[i] < 0 ? label[0] : of_rows[i]]].push_back(i);
    }
};

// Ruiz scaling of the saddle point of H and rows C, in six passes: powers of two D and E, as layers/linalg/saddle.py has them.
inline void ruiz(const Entries& H, const Entries& C, Vector& D, Vector& E) {
    D.assign(H.columns, 1.0);
    E.assign(C.rows, 1.0);
    for (int pass = 0; pass < 6; ++pass) {
        Vector of_x(D.size(), 0.0), of_y(E.size(), 0.0);
        H.each([&](int i, int j, double a) { of_x[j] = std::max(of_x[j], std::fabs(a) * D[i] * D[j]); });
        C.each([&](int i, int j, double a) {
            const double size = std::fabs(a) * E[i] * D[j];
            of_x[j] = std::max(of_x[j], size);
            of_y[i] = std::max(of_y[i], size);
        });
        for (std::size_t j = 0; j < D.size(); ++j)
            if (of_x[j] > 0) D[j] /= std::sqrt(of_x[j]);
        for (std::size_t i = 0; i < E.size(); ++i)
            if (of_y[i] > 0) E[i] /= std::sqrt(of_y[i]);
    }
    for (double& x : D) x = nearest_power(x);
    for (double& x : E) x = nearest_power(x);
}

}  // namespace convex_layers
