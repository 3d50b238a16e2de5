// (dx, dy) = 𝒮 (r₁, r₂) for a group of solutions: layers/cone/adjoint.py. What is singular is left to torch by an infinite error.
#pragma once
#include "cone/system.hpp"

namespace CORE {

using convex_layers::ConeLinearised;

constexpr int CONE_REFINEMENTS = 4;
constexpr double CONE_FINE = 1e-13, CONE_LEAST = 1e-5;

template <class T>
struct ConeDerivative {
    ConeGroup<T> g;
    ConeSystem<T> sys;
    Frames<T> at;
    T *s, *y, *omega, *turned, *eta, *d_eta, *dx, *d_dx, *top, *link, *moved, *row_size, *column_size, *C, error;

    static long bytes(const ConeData& d) {
        const long ldn = padded<T>(d.n), ldm = padded<T>(d.m);
        const long entries = ConeGroup<T>::entries(d) + ConeSystem<T>::entries(d) + Frames<T>::entries(d) + 4 * ldn + 9 * ldm + ldn * d.m + 14 * 8;
        return entries * (long)sizeof(T) + 64 * 128 + (long)sizeof(ConeDerivative);
    }
    ConeDerivative(Arena& a, const ConeData& d) : g(a, d), sys(a, g), at(a, g) {
        for (T** one : {&s, &y, &omega, &turned, &eta, &d_eta, &link, &moved, &row_size}) *one = zeros<T>(a, g.ldm);
        for (T** one : {&dx, &d_dx, &top, &column_size}) *one = zeros<T>(a, g.ldn);
        C = zeros<T>(a, (long)g.m * g.ldn);
    }

    // The right-hand sides stand in the places of q and b.
    void load(const ConeData& d, const ConeLinearised& call, long index, int lane) {
        g.load(d, call.r1, call.r2, index, lane);
        for (int i = 0; i < g.m; ++i) {
            Lane<T>::set(s[i], lane, call.s[index * g.m + i]);
            Lane<T>::set(y[i], lane, call.y[index * g.m + i]);
        }
    }

    void run() {
        balance();
        for (int i = 0; i < g.m; ++i) turned[i] = s[i] - y[i];
        at.decompose(turned);
        std::memcpy(C, g.A, (long)g.m * g.ldn * sizeof(T));
        at.rows_into(C);
        sys.factor(g.P, C, g.m, at.inside, at.outside);
        std::memcpy(turned, g.b, g.ldm * sizeof(T));
        at.into(turned);
        clear(dx, g.ldn);
        clear(eta, g.ldm);
        error = constant<T>(__builtin_inf());
        for (int round = 0; round < CONE_REFINEMENTS; ++round) {
            residual(round == 0);
            std::memcpy(d_dx, top, g.ldn * sizeof(T));
            for (int i = 0; i < g.m; ++i) d_eta[i] = round ? link[i] * sys.link[i] : sys.F[i] * turned[i];
            sys.solve(d_dx, d_eta);
            for (int j = 0; j < g.n; ++j) dx[j] += d_dx[j];
            for (int i = 0; i < g.m; ++i) eta[i] += d_eta[i];
            residual(false);
            const T before = error;
            error = backward_error();
            if (!any((error > CONE_FINE) & (error < 0.5 * before))) break;
        }
        error = sys.singular ? constant<T>(__builtin_inf()) : error;
        at.out(eta);
        for (int i = 0; i < g.m; ++i) eta[i] *= omega[i];
    }

    void store(const ConeLinearised& call, long index, int lane) const {
        for (int j = 0; j < g.n; ++j) call.dx[index * g.n + j] = Lane<T>::get(dx[j], lane);
        for (int i = 0; i < g.m; ++i) call.dy[index * g.m + i] = Lane<T>::get(eta[i], lane);
        call.error[index] = g.finite[lane] ? Lane<T>::get(error, lane) : __builtin_inf();
    }

  private:
    // ω = √(‖y‖/‖s‖) on the cones at whose boundary both are, so that v = s − y adds up what has one size: layers/cone/scaling.py.
    void balance() {
        const T none = constant<T>(0), one = constant<T>(1);
        for (int i = 0; i < g.m; ++i) omega[i] = one;
        g.each_soc([&](int row, int rows) {
            const T s_size = max_abs_of(s + row, rows), y_size = max_abs_of(y + row, rows);
            const auto both = (s_size > none) & (y_size > none);
            const T ratio = both ? y_size / or_one(s_size) : one, by = power_of_two(root(ratio));
            for (int i = 0; i < rows; ++i) {
                omega[row + i] = by;
                s[row + i] *= by;
                y[row + i] /= by;
                g.b[row + i] *= by;
                const V f = Lane<T>::splat(by);
                for (int j = 0; j < g.ldn; j += Lane<T>::width) pack(g.A + (long)(row + i) * g.ldn + j) *= f;
            }
        });
    }

    // top = r₁ − P dx − C'η, link = (1 − δ)(V'r₂ − C dx) + δη
    void residual(bool at_zero) {
        std::memcpy(top, g.q, g.ldn * sizeof(T));
        if (at_zero) return;
        multiply(g.P, g.n, g.ldn, dx, d_dx);
        for (int j = 0; j < g.n; ++j) top[j] -= d_dx[j];
        for (int i = 0; i < g.m; ++i) d_eta[i] = -eta[i];
        add_transposed(C, g.m, g.ldn, d_eta, top);
        multiply(C, g.m, g.ldn, dx, moved);
        for (int i = 0; i < g.m; ++i) link[i] = at.outside[i] * (turned[i] - moved[i]) + at.inside[i] * eta[i];
    }

    // Largest residual, relative to the largest term that its own row adds up, or a part of the largest of all.
    T backward_error() const {
        T most = constant<T>(0), worst = most, sum = most;
        for (int i = 0; i < g.m; ++i) row_size[i] = larger(absolute(eta[i]), absolute(turned[i]));
        for (int j = 0; j < g.n; ++j) column_size[j] = absolute(g.q[j]);
        for (int j = 0; j < g.n; ++j)
            for (int k = 0; k < g.n; ++k) column_size[j] = larger(column_size[j], absolute(g.P[(long)j * g.ldn + k] * dx[k]));
        for (int i = 0; i < g.m; ++i)
            for (int j = 0; j < g.n; ++j) {
                const T entry = absolute(C[(long)i * g.ldn + j]);
                row_size[i] = larger(row_size[i], entry * absolute(dx[j]));
                column_size[j] = larger(column_size[j], entry * absolute(eta[i]));
            }
        for (int j = 0; j < g.n; ++j) most = larger(most, column_size[j]);
        const T column_least = or_one(CONE_LEAST * most);
        for (int j = 0; j < g.n; ++j) {
            worst = larger(worst, absolute(top[j]) / larger(column_size[j], column_least));
            sum += top[j];
        }
        most = constant<T>(0);
        for (int i = 0; i < g.m; ++i) most = larger(most, row_size[i]);
        const T row_least = or_one(CONE_LEAST * most);
        for (int i = 0; i < g.m; ++i) {
            worst = larger(worst, absolute(link[i]) / larger(row_size[i], row_least));
            sum += link[i];
        }
        return sum - sum == constant<T>(0) ? worst : constant<T>(__builtin_inf());
    }
};

}  // namespace CORE
