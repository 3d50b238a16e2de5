// Cone programs with zero, nonnegative and second-order cones: a primal-dual interior point in the scaling of Nesterov & Todd (1997), with
// Mehrotra's predictor and corrector, then Newton's method on the optimality conditions, which brings its answer to rounding. What it does
// not solve is left to the other engines, which also tell infeasible and unbounded programs apart.
#pragma once
#include "cone/newton.hpp"

namespace CORE {

using convex_layers::ConeAnswer;

constexpr double CONE_FRACTION = 0.99;         // of the way to the boundary
constexpr int CONE_ITERATIONS = 50;
// Newton's method is tried from these relative residuals and gap, again where they have fallen so much further, and taken at its word from
// SHARP on; a point that is GOOD when the iteration ends will do.
constexpr double CONE_NEAR = 1e-4, CONE_NEARER = 1e-2, CONE_GOOD = 1e-10;
constexpr double CONE_WAITED = 2;              // iterations that a lane which is near waits for the others
constexpr double CONE_STALLED = 5;             // iterations without a tenth less after which a lane is given up

template <class T>
struct ConeEngine {
    using Mask = typename Lane<T>::Mask;
    ConeGroup<T> g;
    ConeSystem<T> sys;
    ConeNewton<T> newton;
    T *x, *dx, *rx, *left, *y, *s, *dy, *ds, *rp, *t, *u, *scaled, *scaled_dy, *scaled_ds, *nt, *eta, *kept, *left_zero, *row_scale, *H, *B;
    T iterations, c;
    bool careful;  // whether directions are refined

    static long bytes(const ConeData& d) {
        const long ldn = padded<T>(d.n), ldm = padded<T>(d.m);
        const long own = 4 * ldn + 15 * ldm + ldn * d.n + ldn * d.m + 21 * 8;
        const long entries = ConeGroup<T>::entries(d) + ConeSystem<T>::entries(d) + ConeNewton<T>::entries(d) + own;
        return entries * (long)sizeof(T) + 64 * 128 + (long)sizeof(ConeEngine);
    }

    ConeEngine(Arena& a, const ConeData& d) : g(a, d), sys(a, g), newton(a, d, g, sys) {
        for (T** one : {&x, &dx, &rx, &left}) *one = zeros<T>(a, g.ldn);
        for (T** one : {&y, &s, &dy, &ds, &rp, &t, &u, &scaled, &scaled_dy, &scaled_ds, &nt, &eta, &kept, &left_zero, &row_scale}) *one = zeros<T>(a, g.ldm);
        H = zeros<T>(a, (long)g.n * g.ldn);
        B = zeros<T>(a, (long)g.m * g.ldn);
        iterations = constant<T>(0);
        c = constant<T>(1);
        careful = false;
    }

    template <class Check>
    void run(int most, Check&& check) {
        g.normalise(row_scale, c);
        start();
        iterate(most < CONE_ITERATIONS ? most : CONE_ITERATIONS, check);
        newton.at.decompose(newton.v_best);
    }

    bool solved(int lane) const { return g.finite[lane] && Lane<T>::get(newton.best, lane) <= CONE_GOOD; }
    void store(const ConeAnswer& out, long index, int lane) const {
        for (int j = 0; j < g.n; ++j) out.x[index * g.n + j] = Lane<T>::get(newton.x_best[j], lane);
        for (int i = 0; i < g.m; ++i) {
            out.y[index * g.m + i] = Lane<T>::get(newton.at.y[i] * row_scale[i] / c, lane);
            out.s[index * g.m + i] = Lane<T>::get(newton.at.s[i] / row_scale[i], lane);
        }
        out.iterations[index] = (long long)Lane<T>::get(iterations, lane);
    }

  private:
    // s and y of least squares, pushed into the cones.
    void start() {
        for (int i = g.zero; i < g.linear; ++i) nt[i] = constant<T>(1);
        g.each_soc([&](int row, int rows) {
            nt[row] = eta[row] = constant<T>(1);
            for (int i = 1; i < rows; ++i) nt[row + i] = constant<T>(0);
        });
        condense();
        clear(t, g.ldm);
        clear(rx, g.ldn);
        for (int i = 0; i < g.m; ++i) rp[i] = -g.b[i];
        direction();
        std::memcpy(x, dx, g.ldn * sizeof(T));
        for (int i = g.zero; i < g.m; ++i) s[i] = -dy[i];
        for (int j = 0; j < g.n; ++j) rx[j] = g.q[j];
        clear(rp, g.ldm);
        direction();
        std::memcpy(y, dy, g.ldm * sizeof(T));
        push(s);
        push(y);
    }

    void push(T* z) const {
        T lowest = constant<T>(1e300), most = constant<T>(0);
        for (int i = g.zero; i < g.linear; ++i) {
            lowest = smaller(lowest, z[i]);
            most = larger(most, absolute(z[i]));
        }
        g.each_soc([&](int row, int rows) {
            const T r = root(dot_of(z + row + 1, z + row + 1, rows - 1));
            lowest = smaller(lowest, z[row] - r);
            most = larger(most, larger(absolute(z[row]), r));
        });
        const T shift = lowest > 1e-2 * most ? constant<T>(0) : 1.0 - lowest;
        for (int i = g.zero; i < g.linear; ++i) z[i] += shift;
        g.each_soc([&](int row, int) { z[row] += shift; });
    }

    template <class Check>
    void iterate(int most, Check&& check) {
        const T none = constant<T>(0), one = constant<T>(1);
        const T b_size = one + max_abs_of(g.b, g.m), q_size = one + max_abs_of(g.q, g.n);
        T near = constant<T>(CONE_NEAR), waited = none, lowest = constant<T>(1e300), stalled = none;
        Mask over = newton.done;
        for (int iteration = 0; iteration <= most; ++iteration) {
            check();
            g.stationarity(x, y, rx);
            g.excess(x, rp);
            for (int i = 0; i < g.m; ++i) rp[i] += s[i];
            const T gap = dot_of(s + g.zero, y + g.zero, g.m - g.zero), value = absolute(dot_of(g.q, x, g.n));
            const T left = larger(larger(max_abs_of(rp, g.m) / b_size, max_abs_of(rx, g.n) / q_size), gap / (one + value));
            // Lanes are tried together, but what happens to one does not depend on the others: one that is near stands still.
            stalled = (left < 0.9 * lowest) | (waited > none) ? none : stalled + one;
            lowest = smaller(lowest, left);
            over = newton.done | (stalled > CONE_STALLED);
            const Mask ready = negate(over) & (left <= near);
            waited = ready ? waited + one : none;
            careful = any(negate(over) & (left < CONE_NEAR));
            const bool last = iteration == most || !any(negate(over)), all_ready = !any(negate(over) & negate(ready));
            if (last || (any(ready) && (all_ready || any(ready & (waited > CONE_WAITED))))) {
                newton.run(last ? negate(newton.done) : ready, x, y, s);
                near = ready ? CONE_NEARER * left : near;
                waited = none;
                if (last || !any(negate(newton.done | over))) break;
                g.stationarity(x, y, rx);
                g.excess(x, rp);
                for (int i = 0; i < g.m; ++i) rp[i] += s[i];
            }
            iterations = over | (waited > none) ? iterations : iterations + one;
            nesterov_todd();
            condense();
            for (int i = g.zero; i < g.m; ++i) t[i] = scaled[i];  // λ \ (λ ∘ λ)
            direction();
            const T reach = longest(1.0), rest = 1 - reach, sigma = rest * rest * rest * gap / (double)(g.degree ? g.degree : 1);
            second_order_term(sigma);
            direction();
            const T alpha = over | (waited > none) ? none : longest(CONE_FRACTION);
            if (!any(alpha > 1e-8)) most = iteration + 1;
            for (int j = 0; j < g.n; ++j) x[j] += alpha * dx[j];
            for (int i = 0; i < g.m; ++i) y[i] += alpha * dy[i];
            for (int i = g.zero; i < g.m; ++i) s[i] += alpha * ds[i];
        }
    }

    // The scaling W with Wy = W⁻¹s = λ (`scaled`): √(s/y) of a row; η[w₀ w₁'; w₁ I + w₁w₁'/(1 + w₀)] of a second-order cone.
    void nesterov_todd() {
        const T one = constant<T>(1);
        for (int i = g.zero; i < g.linear; ++i) nt[i] = root(s[i] / y[i]);
        g.each_soc([&](int row, int rows) {
            const T *a = s + row, *b = y + row;
            const T ra = root(dot_of(a + 1, a + 1, rows - 1)), rb = root(dot_of(b + 1, b + 1, rows - 1));
            const T a_size = root((a[0] - ra) * (a[0] + ra)), b_size = root((b[0] - rb) * (b[0] + rb));
            const T both = 1 / (a_size * b_size), gamma = root(0.5 * (one + dot_of(a, b, rows) * both));
            const T half_a = 0.5 / (gamma * a_size), half_b = 0.5 / (gamma * b_size);
            T* w = nt + row;
            T square = constant<T>(0);
            for (int i = 1; i < rows; ++i) {
                w[i] = half_a * a[i] - half_b * b[i];
                square += w[i] * w[i];
            }
            w[0] = root(one + square);
            eta[row] = root(a_size / b_size);
        });
        std::memcpy(scaled, y, g.ldm * sizeof(T));
        scale(scaled);
    }

    // z = Wz and z = W⁻¹z on the rows of the cones.
    void scale(T* z) const {
        for (int i = g.zero; i < g.linear; ++i) z[i] *= nt[i];
        g.each_soc([&](int row, int rows) { turn(z + row, nt + row, rows, 1, eta[row]); });
    }
    void unscale(T* z) const {
        for (int i = g.zero; i < g.linear; ++i) z[i] /= nt[i];
        g.each_soc([&](int row, int rows) { turn(z + row, nt + row, rows, -1, 1 / eta[row]); });
    }
    static void turn(T* z, const T* w, int rows, double side, T by) {
        const T along = dot_of(w + 1, z + 1, rows - 1), first = z[0];
        const T add = side * first + along / (1 + w[0]);
        z[0] = by * (w[0] * first + side * along);
        for (int i = 1; i < rows; ++i) z[i] = by * (z[i] + add * w[i]);
    }

    // B = W⁻¹A, H = P + B'B, and the factorisation of [H A'; A 0] with the rows of the zero cone.
    void condense() {
        const int ld = g.ldn, width = Lane<T>::width;
        for (int i = g.zero; i < g.linear; ++i) {
            const V f = Lane<T>::splat(1 / nt[i]);
            for (int j = 0; j < ld; j += width) pack(B + (long)i * ld + j) = f * pack(g.A + (long)i * ld + j);
        }
        g.each_soc([&](int row, int rows) {
            const T* w = nt + row;
            const T *from = g.A + (long)row * ld;
            T* to = B + (long)row * ld;
            const V by = Lane<T>::splat(1 / eta[row]), first = Lane<T>::splat(w[0]), share = Lane<T>::splat(1 / (1 + w[0]));
            for (int j = 0; j < ld; j += width) {
                V along = V{};
                for (int i = 1; i < rows; ++i) along += Lane<T>::splat(w[i]) * pack(from + (long)i * ld + j);
                const V top = pack(from + j), add = along * share - top;
                pack(to + j) = by * (first * top - along);
                for (int i = 1; i < rows; ++i)
                    pack(to + (long)i * ld + j) = by * (pack(from + (long)i * ld + j) + Lane<T>::splat(w[i]) * add);
            }
        });
        std::memcpy(H, g.P, (long)g.n * ld * sizeof(T));
        const T* cones = B + (long)g.zero * ld;
        add_gram(cones, cones, g.m - g.zero, g.n, ld, H);
        sys.factor(H, g.A, g.zero, nullptr, nullptr);
    }

    // P dx + A'dy = −rx, A dx + ds = −rp, W⁻¹ds + W dy = −t; also the scaled W dy and W⁻¹ds.
    void direction() {
        const int ld = g.ldn, cones = g.m - g.zero;
        for (int i = 0; i < g.m; ++i) u[i] = rp[i];
        unscale(u);
        for (int i = g.zero; i < g.m; ++i) {
            u[i] -= t[i];
            scaled_dy[i] = -u[i];
        }
        for (int j = 0; j < g.n; ++j) dx[j] = -rx[j];
        add_transposed(B + (long)g.zero * ld, cones, ld, scaled_dy + g.zero, dx);
        for (int i = 0; i < g.zero; ++i) kept[i] = -rp[i];
        sys.solve(dx, kept);
        follow();
        if (!careful) return;
        // W⁻² is large near the end, and so is what is left of the first equation
        multiply(g.P, g.n, ld, dx, left);
        add_transposed(g.A, g.m, ld, dy, left);
        multiply(g.A, g.zero, ld, dx, left_zero);
        for (int j = 0; j < g.n; ++j) left[j] = -rx[j] - left[j];
        for (int i = 0; i < g.zero; ++i) left_zero[i] = -rp[i] - left_zero[i];
        sys.solve(left, left_zero);
        for (int j = 0; j < g.n; ++j) dx[j] += left[j];
        for (int i = 0; i < g.zero; ++i) kept[i] += left_zero[i];
        follow();
    }

    // The rest of a direction from dx and the multipliers of the zero cone.
    void follow() {
        multiply(B + (long)g.zero * g.ldn, g.m - g.zero, g.ldn, dx, scaled_dy + g.zero);
        for (int i = g.zero; i < g.m; ++i) {
            scaled_dy[i] += u[i];
            scaled_ds[i] = -t[i] - scaled_dy[i];
            dy[i] = scaled_dy[i];
            ds[i] = scaled_ds[i];
        }
        unscale(dy);
        scale(ds);
        for (int i = 0; i < g.zero; ++i) {
            dy[i] = kept[i];
            ds[i] = constant<T>(0);
        }
    }

    // t = λ \ (λ ∘ λ + (W⁻¹ds) ∘ (W dy) − σ e)
    void second_order_term(T sigma) {
        for (int i = g.zero; i < g.linear; ++i) t[i] = scaled[i] + (scaled_ds[i] * scaled_dy[i] - sigma) / scaled[i];
        g.each_soc([&](int row, int rows) {
            const T *a = scaled_ds + row, *b = scaled_dy + row, *l = scaled + row;
            T* to = t + row;
            to[0] = dot_of(a, b, rows) - sigma;
            for (int i = 1; i < rows; ++i) to[i] = a[0] * b[i] + b[0] * a[i];
            const T r = root(dot_of(l + 1, l + 1, rows - 1)), size = (l[0] - r) * (l[0] + r);
            const T first = (l[0] * to[0] - dot_of(l + 1, to + 1, rows - 1)) / size;
            for (int i = 1; i < rows; ++i) to[i] = (to[i] - first * l[i]) / l[0] + l[i];
            to[0] = first + l[0];
        });
    }

    // How far s and y may go, at most 1: in the scaling both stand at λ.
    T longest(double fraction) const {
        T least = constant<T>(1 / fraction);
        const T none = constant<T>(0), far = least;
        for (int i = g.zero; i < g.linear; ++i) {
            const T worst = smaller(scaled_ds[i], scaled_dy[i]);
            least = smaller(least, worst < none ? -scaled[i] / worst : far);
        }
        g.each_soc([&](int row, int rows) {
            const T* l = scaled + row;
            const T r = root(dot_of(l + 1, l + 1, rows - 1)), size = root((l[0] - r) * (l[0] + r)), by = 1 / size;
            for (const T* d : {scaled_ds + row, scaled_dy + row}) {
                const T along = by * (l[0] * d[0] - dot_of(l + 1, d + 1, rows - 1)), share = (along + d[0]) / (l[0] * by + 1);
                T square = none;
                for (int i = 1; i < rows; ++i) {
                    const T off = d[i] - share * by * l[i];
                    square += off * off;
                }
                const T speed = by * (root(square) - along);
                least = smaller(least, speed > none ? 1 / speed : far);
            }
        });
        return smaller(fraction * least, constant<T>(1));
    }
};

}  // namespace CORE
