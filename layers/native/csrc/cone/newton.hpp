// Newton's method on the optimality conditions of the lanes of a group, from an iterate of the interior point to rounding: layers/cone/newton.py.
#pragma once
#include "cone/system.hpp"

namespace CORE {

constexpr double CONE_SHARP = 1e-14;           // a residual at which a point is taken at its word
constexpr double CONE_FLAT = 1e-15;            // nothing is gained below
constexpr int CONE_FACTORISATIONS = 6, CONE_CHORDS = 4;
constexpr double CONE_GAIN = 0.1;              // a step that leaves more than this of the residual wants a new factorisation
// A cone whose s is there, and smaller than this beside its terms, or which is long and thin by more than this, is not known to rounding.
constexpr double CONE_NOTHING = 1e-15, CONE_SMALL = 1e-4, CONE_THIN = 1e-6, CONE_MET = 1e-6;

template <class T>
struct ConeNewton {
    using Mask = typename Lane<T>::Mask;
    ConeGroup<T>& g;
    ConeSystem<T>& sys;
    Frames<T> at, trial;  // where the factorisation stands, and the point
    // the point, the one before, and the best of all; the step and what it is made of
    T *x, *x_old, *x_best, *v, *v_old, *v_best, *rx, *rp, *dx, *dv, *u, *eta, *B;
    T now, best;
    Mask done;

    static long entries(const ConeData& d) {
        const long ldn = padded<T>(d.n), ldm = padded<T>(d.m);
        return 2 * Frames<T>::entries(d) + 5 * ldn + 7 * ldm + ldn * d.m + 13 * 8;
    }

    ConeNewton(Arena& a, const ConeData& d, ConeGroup<T>& group, ConeSystem<T>& system) : g(group), sys(system), at(a, group), trial(a, group) {
        for (T** one : {&x, &x_old, &x_best, &rx, &dx}) *one = zeros<T>(a, g.ldn);
        for (T** one : {&v, &v_old, &v_best, &rp, &dv, &u, &eta}) *one = zeros<T>(a, g.ldm);
        B = zeros<T>(a, (long)g.m * g.ldn);
        now = best = constant<T>(1e300);
        done = constant<T>(0) > 1.0;
    }

    // Newton's method on R(x, v) = (Px + q + A'y(v), Ax + s(v) − b), v = s − y, from the iterate: layers/cone/newton.py. The lanes of
    // `want` keep the best point. Where the system may be singular, as with dependent active rows, multipliers are not unique and a step ends
    // anywhere among them, also where one that binds is zero: such lanes are left.
    void run(Mask want, const T* x_from, const T* y, const T* s) {
        std::memcpy(x, x_from, g.ldn * sizeof(T));
        for (int i = 0; i < g.m; ++i) v[i] = i < g.zero ? -y[i] : s[i] - y[i];
        trial.decompose(v);
        now = measure();
        for (int round = 0; round < CONE_FACTORISATIONS && any(want & (now > CONE_FLAT)); ++round) {
            const T before_round = now;
            at.decompose(v);
            std::memcpy(B, g.A, (long)g.m * g.ldn * sizeof(T));
            at.rows_into(B);
            sys.factor(g.P, B, g.m, at.inside, at.outside);
            want = want & negate(sys.singular);
            for (int chord = 0; chord < CONE_CHORDS; ++chord) {
                const T before = now;
                step();
                if (!any(want & (now < CONE_GAIN * before) & (now > CONE_FLAT))) break;
            }
            if (!any(want & (now < (1 - CONE_GAIN) * before_round) & (now > CONE_SHARP))) break;
        }
        const Mask better = want & (now < best);
        for (int j = 0; j < g.n; ++j) x_best[j] = better ? x[j] : x_best[j];
        for (int i = 0; i < g.m; ++i) v_best[i] = better ? v[i] : v_best[i];
        best = better ? now : best;
        done = done | (best <= CONE_SHARP);
    }

    // Whether a lane's best point, which `at` has decomposed, is not known to rounding in what its cones are made of: a second-order cone that
    // pushes and is small beside the terms of its rows, or one of the form (u + w, u − w, …) with u and w far apart; or a number of b that its
    // row does not meet: layers/cone/refinement.py.
    bool suspect(int lane) const {
        bool found = false;
        double most = 0;
        for (int i = 0; i < g.m; ++i) most = larger(most, row_of(i, lane).terms);
        for (int i = 0; i < g.m; ++i) {
            const Row one = row_of(i, lane);
            found = found || (Lane<T>::get(g.b[i], lane) != 0 && one.left > CONE_MET * one.terms && one.terms > CONE_NOTHING * most);
        }
        g.each_soc([&](int row, int rows) {
            double size = 0, terms = 0, pushes = 0;
            for (int i = row; i < row + rows; ++i) {
                terms = larger(terms, row_of(i, lane).terms);
                size = larger(size, absolute(Lane<T>::get(at.s[i], lane)));
                pushes += absolute(Lane<T>::get(at.y[i], lane));
            }
            const bool small = size > CONE_NOTHING * terms && size < CONE_SMALL * terms;
            found = found || (pushes > 0 && (small || (rows > 2 && size > 0 && rotated(row, lane) && thin(row, lane))));
        });
        return found;
    }

  private:
    // The terms of a row, and what is left of Ax + s − b.
    struct Row {
        double terms, left;
    };
    Row row_of(int i, int lane) const {
        const double b = Lane<T>::get(g.b[i], lane), s = Lane<T>::get(at.s[i], lane);
        double sum = s - b, terms = absolute(b);
        for (int j = 0; j < g.n; ++j) {
            const double term = Lane<T>::get(g.A[(long)i * g.ldn + j], lane) * Lane<T>::get(x_best[j], lane);
            sum += term;
            terms += absolute(term);
        }
        return {terms, absolute(sum)};
    }
    // Whether the first two rows of a cone hold the same variables.
    bool rotated(int row, int lane) const {
        for (int j = 0; j < g.n; ++j) {
            const double upper = Lane<T>::get(g.A[(long)row * g.ldn + j], lane), lower = Lane<T>::get(g.A[(long)(row + 1) * g.ldn + j], lane);
            if ((upper != 0) != (lower != 0)) return false;
        }
        return true;
    }
    bool thin(int row, int lane) const {
        const double first = Lane<T>::get(at.s[row], lane), second = Lane<T>::get(at.s[row + 1], lane);
        return first - absolute(second) <= CONE_THIN * (first + absolute(second));
    }

    // One step with the factorisation at hand, kept where it lowers the residual.
    void step() {
        trial.decompose(v);
        residual();
        for (int i = 0; i < g.m; ++i) {
            u[i] = -rp[i];
            eta[i] = u[i];
        }
        for (int j = 0; j < g.n; ++j) dx[j] = -rx[j];
        at.into(eta);
        for (int i = 0; i < g.m; ++i) eta[i] *= sys.F[i];
        sys.solve(dx, eta);
        at.out(eta);
        multiply(g.A, g.m, g.ldn, dx, dv);
        for (int j = 0; j < g.n; ++j) {
            x_old[j] = x[j];
            x[j] += dx[j];
        }
        for (int i = 0; i < g.m; ++i) {
            v_old[i] = v[i];
            v[i] += u[i] - dv[i] - eta[i];
        }
        trial.decompose(v);
        const T moved = measure();
        const Mask better = moved < now;
        for (int j = 0; j < g.n; ++j) x[j] = better ? x[j] : x_old[j];
        for (int i = 0; i < g.m; ++i) v[i] = better ? v[i] : v_old[i];
        now = better ? moved : now;
    }

    // rx and rp at x and the parts of v
    void residual() {
        g.stationarity(x, trial.y, rx);
        g.excess(x, rp);
        for (int i = 0; i < g.m; ++i) rp[i] += trial.s[i];
    }

    // Largest residual, relative to what it adds up; infinite where it is not a number.
    T measure() {
        residual();
        const T p = max_abs_of(rp, g.m) / or_one(larger(max_abs_of(g.b, g.m), max_abs_of(trial.s, g.m)));
        const T d = max_abs_of(rx, g.n) / or_one(larger(max_abs_of(g.q, g.n), max_abs_of(trial.y, g.m)));
        T sum = constant<T>(0);
        for (int j = 0; j < g.n; ++j) sum += x[j] + rx[j];
        for (int i = 0; i < g.m; ++i) sum += rp[i];
        return sum - sum == constant<T>(0) ? larger(p, d) : constant<T>(1e300);
    }
};

}  // namespace CORE
