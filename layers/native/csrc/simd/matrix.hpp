// The matrices of a group of problems, dense or with the zeros that they share: what the engine does with them.
#pragma once
#include "simd/dense.hpp"

namespace CORE {

using convex_layers::Arena;
using convex_layers::Pattern;

template <class S>
inline S* zeros(Arena& arena, long count) {
    return static_cast<S*>(arena.zeros(count * (long)sizeof(S)));
}

// The same without the zeros.
template <class S>
inline S* raw(Arena& arena, long count) {
    return static_cast<S*>(arena.raw(count * (long)sizeof(S)));
}

template <class T>
struct Dense {
    int rows, columns, ld;
    T* data;

    static long entries(long rows, long columns, const Pattern*) { return rows * padded<T>((int)columns) + 8; }
    Dense(Arena& arena, int rows_, int columns_, const Pattern*) : rows(rows_), columns(columns_), ld(padded<T>(columns_)) {
        data = raw<T>(arena, (long)rows * ld);
        for (int i = 0; i < rows; ++i)
            for (int j = columns; j < ld; ++j) data[(long)i * ld + j] = constant<T>(0);
    }
    const T* row(int i) const { return data + (long)i * ld; }
    // Row and column of every entry of a lane that is not zero.
    template <class Each>
    void nonzeros(int lane, Each&& visit) const {
        for (int i = 0; i < rows; ++i)
            for (int j = 0; j < columns; ++j)
                if (Lane<T>::get(row(i)[j], lane) != 0) visit(i, j);
    }

    // Copy into a lane; zero, or NaN where an entry is not finite (0 · x is NaN then).
    double load(const double* from, int lane) {
        double check = 0;
        for (int i = 0; i < rows; ++i)
            for (int j = 0; j < columns; ++j) {
                const double value = from[(long)i * columns + j];
                check += 0 * value;
                Lane<T>::set(data[(long)i * ld + j], lane, value);
            }
        return check;
    }
    // The symmetric part, and the largest |M - Mᵀ|.
    double load_symmetric(const double* from, int lane, double& skew) {
        double check = 0;
        for (int i = 0; i < rows; ++i)
            for (int j = 0; j <= i; ++j) {
                const double low = from[(long)i * columns + j], high = from[(long)j * columns + i], mean = 0.5 * (low + high);
                skew = larger(skew, absolute(low - high));
                check += 0 * mean;
                Lane<T>::set(data[(long)i * ld + j], lane, mean);
                Lane<T>::set(data[(long)j * ld + i], lane, mean);
            }
        return check;
    }
    // Largest |E M D| of every row, and of every column so far.
    void measure(const T* E, const T* D, T* row_max, T* column_max) const {
        for (int i = 0; i < rows; ++i) {
            const V f = Lane<T>::splat(E[i]);
            V worst = V{};
            for (int j = 0; j < ld; j += Lane<T>::width) {
                const V value = absolute(pack(row(i) + j)) * f * pack(D + j);
                worst = larger(worst, value);
                pack(column_max + j) = larger(pack(column_max + j), value);
            }
            row_max[i] = Lane<T>::max(worst);
        }
    }
    void scale(const T* E, const T* D) {
        for (int i = 0; i < rows; ++i) {
            const V f = Lane<T>::splat(E[i]);
            for (int j = 0; j < ld; j += Lane<T>::width) pack(data + (long)i * ld + j) *= f * pack(D + j);
        }
    }
    void scale(T by) {
        const V f = Lane<T>::splat(by);
        for (long j = 0; j < (long)rows * ld; j += Lane<T>::width) pack(data + j) *= f;
    }
    T largest() const { return max_abs(data, rows * ld); }
    void multiply(const T* x, T* y) const { CORE::multiply(data, rows, ld, x, y); }
    void add_transposed(const T* y, T* x) const { CORE::add_transposed(data, rows, ld, y, x); }
    void add_magnitudes(const T* x, T* y) const { CORE::add_magnitudes(data, rows, ld, x, y); }
    void add_magnitudes_transposed(const T* y, T* x) const { CORE::add_magnitudes_transposed(data, rows, ld, y, x); }
    // y[i] = maxⱼ |Mᵢⱼ x[j]|; x is padded
    void largest_terms(const T* x, T* y) const {
        for (int i = 0; i < rows; ++i) {
            V worst = V{};
            for (int j = 0; j < ld; j += Lane<T>::width) worst = larger(worst, absolute(pack(row(i) + j) * pack(x + j)));
            y[i] = Lane<T>::max(worst);
        }
    }
    // x[j] = maxᵢ |Mᵢⱼ y[i]|, or what it is if that is larger; x is padded
    void largest_terms_transposed(const T* y, T* x) const {
        for (int i = 0; i < rows; ++i) {
            const V f = Lane<T>::splat(y[i]);
            for (int j = 0; j < ld; j += Lane<T>::width) pack(x + j) = larger(pack(x + j), absolute(pack(row(i) + j) * f));
        }
    }
};

template <class T>
struct Zeros {
    int rows, columns;
    Pattern pattern;
    T* data;

    static long entries(long, long, const Pattern* pattern) { return pattern->count() + 8; }
    Zeros(Arena& arena, int rows_, int columns_, const Pattern* pattern_) : rows(rows_), columns(columns_), pattern(*pattern_) {
        data = zeros<T>(arena, pattern.count());
    }
    template <class Each>
    void each(Each&& visit) const {
        for (int i = 0; i < rows; ++i)
            for (int k = pattern.start[i]; k < pattern.start[i + 1]; ++k) visit(i, pattern.column[k], k);
    }
    template <class Each>
    void nonzeros(int lane, Each&& visit) const {
        each([&](int i, int j, int k) {
            if (Lane<T>::get(data[k], lane) != 0) visit(i, j);
        });
    }
    double load(const double* from, int lane) {
        double check = 0;
        each([&](int i, int j, int k) {
            const double value = from[(long)i * columns + j];
            check += 0 * value;
            Lane<T>::set(data[k], lane, value);
        });
        return check;
    }
    double load_symmetric(const double* from, int lane, double& skew) {
        double check = 0;
        each([&](int i, int j, int k) {
            const double here = from[(long)i * columns + j], there = from[(long)j * columns + i];
            skew = larger(skew, absolute(here - there));
            check += 0 * (here + there);
            Lane<T>::set(data[k], lane, 0.5 * (here + there));
        });
        return check;
    }
    void measure(const T* E, const T* D, T* row_max, T* column_max) const {
        for (int i = 0; i < rows; ++i) row_max[i] = constant<T>(0);
        each([&](int i, int j, int k) {
            const T value = absolute(data[k]) * E[i] * D[j];
            row_max[i] = larger(row_max[i], value);
            column_max[j] = larger(column_max[j], value);
        });
    }
    void scale(const T* E, const T* D) {
        each([&](int i, int j, int k) { data[k] *= E[i] * D[j]; });
    }
    void scale(T by) {
        each([&](int, int, int k) { data[k] *= by; });
    }
    T largest() const {
        T worst = constant<T>(0);
        each([&](int, int, int k) { worst = larger(worst, absolute(data[k])); });
        return worst;
    }
    void multiply(const T* x, T* y) const {
        for (int i = 0; i < rows; ++i) {
            T total = constant<T>(0);
            for (int k = pattern.start[i]; k < pattern.start[i + 1]; ++k) total += data[k] * x[pattern.column[k]];
            y[i] = total;
        }
    }
    void add_transposed(const T* y, T* x) const {
        each([&](int i, int j, int k) { x[j] += data[k] * y[i]; });
    }
    void add_magnitudes(const T* x, T* y) const {
        each([&](int i, int j, int k) { y[i] += absolute(data[k] * x[j]); });
    }
    void add_magnitudes_transposed(const T* y, T* x) const {
        each([&](int i, int j, int k) { x[j] += absolute(data[k] * y[i]); });
    }
    void largest_terms(const T* x, T* y) const {
        for (int i = 0; i < rows; ++i) y[i] = constant<T>(0);
        each([&](int i, int j, int k) { y[i] = larger(y[i], absolute(data[k] * x[j])); });
    }
    void largest_terms_transposed(const T* y, T* x) const {
        each([&](int i, int j, int k) { x[j] = larger(x[j], absolute(data[k] * y[i])); });
    }
};

}  // namespace CORE
