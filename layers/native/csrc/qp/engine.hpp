// Primal-dual interior point (Mehrotra 1992) on a group of equilibrated problems, with a polish on the active set as soon as the active set
// shows. What it cannot finish to `tol` on the caller's data is left to the torch engine, which also tells infeasible and unbounded
// problems apart.
#pragma once
#include "qp/kkt.hpp"
#include "qp/newton.hpp"

namespace CORE {

using convex_layers::Activity;
using convex_layers::Answer;
using convex_layers::CLEAR;
using convex_layers::STRICTLY;
using convex_layers::Options;

constexpr double STEP_FRACTION = 0.995;
constexpr int MOST_ITERATIONS = 50;
// A step reduces all residuals by the same factor, up to the errors of its equations; after so many they are measured. Most are solved before.
constexpr int DRIFTED = 6;
constexpr int CORRECTIONS = 5;              // refinements of an active set
// Active sets tried per polish; how many before fewer and fewer rows have to change; by how much fewer where sets cost little, and how
// few are few enough.
constexpr int MOST_ROUNDS = 12, PATIENCE = 3;
constexpr double CLOSING = 0.8, FEW = 2, POOR = 3;
constexpr int MOST_QUICK = 20;
constexpr double SHARP = 1e-13;             // a point with this residual needs no better one
constexpr double ENOUGH = 4e-15;            // and no longer refined at this one
constexpr int SHARPENINGS = 3;              // refinements that a sharp point is worth for the sake of its rows one by one,
constexpr double ROWS_SHARP = 1e-9;         // which are sharp at this residual
// The active set shows when the largest min(λ, s) is so small beside the smallest max(λ, s), or when only some rows are unclear, those
// whose min(λ, s) is not small beside their own max(λ, s).
constexpr double SHOWN = 0.03, UNCLEAR = 0.1;
constexpr double WAITED = 2;                // iterations that a lane which is ready waits for the others

template <class T, class Systems>
struct Engine {
    using Mask = typename Lane<T>::Mask;
    using Matrix = typename Systems::Matrix;
    Group<T, Matrix> g;
    Systems sys;
    Measure<T, Matrix> measure;
    T *x, *lam, *nu, *s, *rx, *rg, *ra, *w, *dx, *dlam, *dnu, *ds, *Gdx, *rs;
    T *tx, *tlam, *tnu, *slack, *lack, *stationarity, *Qx, *on, *cx, *clam, *cnu, *binds;
    T *ex, *elam, *enu, *eslack, *ebinds, evalue, eiterations, best;  // the best point so far
    T eresiduals[6];  // its residuals, in norm and row by row
    Mask done, evident;  // evident: every constraint of the best point is active or inactive beyond doubt

    static long bytes(const Data& d, const Sparse* plan) {
        const long vectors = 9L * padded<T>(d.n) + 17L * padded<T>(d.m) + 8L * padded<T>(d.p) + 37 * 8;
        const long entries = Group<T, Matrix>::entries(d, plan) + Systems::entries(d, plan) + Measure<T, Matrix>::entries(d) + vectors;
        return entries * (long)sizeof(T) + 64 * 128 + (long)sizeof(Engine);
    }

    Engine(Arena& a, const Data& d, const Sparse* plan) : g(a, d, plan), sys(a, g, plan), measure(a, g) {
        const int N = g.ldn, M = g.ldm, P = g.ldp;
        x = zeros<T>(a, N), rx = zeros<T>(a, N), dx = zeros<T>(a, N), tx = zeros<T>(a, N), ex = zeros<T>(a, N);
        stationarity = zeros<T>(a, N), Qx = zeros<T>(a, N), cx = zeros<T>(a, N);
        lam = zeros<T>(a, M), s = zeros<T>(a, M), rg = zeros<T>(a, M), w = zeros<T>(a, M), dlam = zeros<T>(a, M), ds = zeros<T>(a, M);
        Gdx = zeros<T>(a, M), rs = zeros<T>(a, M), tlam = zeros<T>(a, M), slack = zeros<T>(a, M), on = zeros<T>(a, M);
        elam = zeros<T>(a, M), eslack = zeros<T>(a, M);
        nu = zeros<T>(a, P), ra = zeros<T>(a, P), dnu = zeros<T>(a, P), tnu = zeros<T>(a, P), lack = zeros<T>(a, P), enu = zeros<T>(a, P);
        clam = zeros<T>(a, M), cnu = zeros<T>(a, P), binds = zeros<T>(a, M), ebinds = zeros<T>(a, M);
    }

    // All lanes are loaded: scale, factorise what stays, forget earlier answers.
    void prepare(const Options& options) {
        g.equilibrate(), sys.prepare(options.rounding, true), measure.prepare();
        done = evident = constant<T>(0) > 1.0;
        eiterations = constant<T>(0), best = constant<T>(1e299);
    }

    // Solve the lanes that are not `done`.
    template <class Check>
    void run(const Options& options, Check&& check) {
        if (g.m == 0) {
            start_from_zero();
            try_active_set(negate(done), constant<T>(0), options.tol, false);
            done = best <= options.tol;
            return;
        }
        if (sys.sets_first()) {
            start_from_zero();
            try_active_set(negate(done), constant<T>(0), options.tol, false);
            // Dependent rows share their multipliers as the iteration would have them, not as the order of the sets has.
            if (!sys.one_set_of_multipliers()) done = constant<T>(0) > 1.0, best = constant<T>(1e299);
            if (!any(negate(done))) return;
        }
        initial();
        iterate(options, check);
    }

    // An earlier solution in the caller's units: its active set is tried first.
    void warm(const double* z, const double* l, const double* v, const double* slack_, int lane) {
        for (int j = 0; j < g.n; ++j) Lane<T>::set(tx[j], lane, z[j]);
        for (int i = 0; i < g.m; ++i) Lane<T>::set(tlam[i], lane, l[i]), Lane<T>::set(on[i], lane, l[i] > slack_[i] ? 1.0 : 0.0);
        for (int i = 0; i < g.p; ++i) Lane<T>::set(tnu[i], lane, v[i]);
    }
    void run_warm(const Options& options) {
        const T y = g.c / g.r;
        for (int j = 0; j < g.n; ++j) tx[j] /= g.r * g.D[j];
        for (int i = 0; i < g.m; ++i) tlam[i] *= y / g.Eg[i];
        for (int i = 0; i < g.p; ++i) tnu[i] *= y / g.Ea[i];
        try_active_set(negate(done), constant<T>(0), options.tol, false);
        done = best <= options.tol;
    }

    void store(const Answer& out, long index, int lane) {
        g.caller(ex, elam, enu, tx, tlam, tnu);  // every lane; cheap
        for (int j = 0; j < g.n; ++j) out.z[index * g.n + j] = Lane<T>::get(tx[j], lane);
        for (int i = 0; i < g.m; ++i) out.lam[index * g.m + i] = Lane<T>::get(tlam[i], lane);
        for (int i = 0; i < g.p; ++i) out.nu[index * g.p + i] = Lane<T>::get(tnu[i], lane);
        for (int i = 0; i < g.m; ++i) out.s[index * g.m + i] = Lane<T>::get(eslack[i] * g.r / g.Eg[i], lane);
        out.objective[index] = Lane<T>::get(evalue, lane);
        for (int k = 0; k < 6; ++k) out.residuals[6 * index + k] = Lane<T>::get(eresiduals[k], lane);
        out.iterations[index] = (long long)Lane<T>::get(eiterations, lane);
        classify(out.kind + index * g.m, lane);
    }

  private:
    void start_from_zero() {
        clear(tx, g.ldn), clear(tlam, g.ldm), clear(tnu, g.ldp), clear(on, g.ldm);
    }

    // Least-squares start, pushed inside: layers/qp/interior_point/iteration.py.
    void initial() {
        for (int i = 0; i < g.m; ++i) w[i] = constant<T>(1);
        sys.newton(w);
        for (int j = 0; j < g.n; ++j) x[j] = -g.q[j];
        std::memcpy(nu, g.b, g.ldp * sizeof(T));
        g.G.add_transposed(g.h, x);
        sys.newton_solve(x, nu);
        g.G.multiply(x, Gdx);
        for (int i = 0; i < g.m; ++i) lam[i] = Gdx[i] - g.h[i], s[i] = -lam[i];
        push(lam), push(s);
        measure_residuals();
    }

    void measure_residuals() {
        residual(x, lam, nu);
        for (int j = 0; j < g.n; ++j) rx[j] = stationarity[j];
        for (int i = 0; i < g.m; ++i) rg[i] = s[i] - slack[i];
        for (int i = 0; i < g.p; ++i) ra[i] = -lack[i];
    }

    void push(T* v) const {
        T lowest = v[0];
        for (int i = 1; i < g.m; ++i) lowest = smaller(lowest, v[i]);
        const T margin = 1e-2 * max_abs(v, g.ldm);
        const T shift = lowest > margin ? constant<T>(0) : 1.0 - lowest;
        for (int i = 0; i < g.m; ++i) v[i] += shift;
    }

    // stationarity from Qx
    void slope(const T* at_lam, const T* at_nu) {
        for (int j = 0; j < g.ldn; ++j) stationarity[j] = Qx[j] + g.q[j];
        g.G.add_transposed(at_lam, stationarity);
        g.A.add_transposed(at_nu, stationarity);
    }

    // stationarity, slack, lack and Qx at a point
    void residual(const T* at_x, const T* at_lam, const T* at_nu) {
        g.Q.multiply(at_x, Qx);
        slope(at_lam, at_nu);
        g.G.multiply(at_x, slack);
        for (int i = 0; i < g.m; ++i) slack[i] = g.h[i] - slack[i];
        g.A.multiply(at_x, lack);
        for (int i = 0; i < g.p; ++i) lack[i] = g.b[i] - lack[i];
    }

    template <class Check>
    void iterate(const Options& options, Check&& check) {
        const int most = options.max_iterations < MOST_ITERATIONS ? options.max_iterations : MOST_ITERATIONS;
        T linear = constant<T>(1), waiting = constant<T>(SHOWN), allowed = constant<T>(sys.unclear_rows() * g.m);
        T waited = constant<T>(0);
        int iteration = 0;
        for (; iteration <= most; ++iteration) {
            check();
            T mixed = constant<T>(0), apart = constant<T>(1e300), unclear = constant<T>(0);
            const T zero = constant<T>(0), one = constant<T>(1);
            for (int i = 0; i < g.m; ++i) {
                const T least = smaller(lam[i], s[i]), most = larger(lam[i], s[i]);
                mixed = larger(mixed, least), apart = smaller(apart, most);
                unclear += least > UNCLEAR * most ? one : zero;
            }
            const Mask near = sys.quick() ? linear <= 1.0 : linear < 1e-1;
            const Mask ready = negate(done) & near & ((mixed < waiting * apart) | (unclear <= allowed));
            waited = ready ? waited + one : zero;
            // Lanes are tried together: the group needs the iterations of its slowest one anyway.
            const bool all_ready = !any(negate(done) & negate(ready));
            if (iteration > 0 && any(ready) && (all_ready || any(ready & (waited > WAITED)))) {
                guess();
                try_active_set(ready, constant<T>(iteration), options.tol, false);
                // an attempt that failed: wait until the active set shows much better
                waiting = ready ? waiting * 0.03 : waiting;
                allowed = ready ? (unclear > one ? 0.5 * unclear : -one) : allowed;
                waited = zero;
            }
            if (!any(negate(done)) || iteration == most) break;
            const T mu = dot(lam, s, g.ldm) * (1.0 / g.m);
            if (iteration >= DRIFTED) measure_residuals();
            const T alpha = step(mu);
            linear *= 1 - alpha;
            const Mask ends = negate(mu > 1e-15) & (linear < 1e-12);
            if (!any(negate(done) & negate(ends)) || !any(negate(done) & (alpha > 1e-7))) break;
        }
        settle(options.tol, constant<T>(iteration));
    }

    void guess() {
        std::memcpy(tx, x, g.ldn * sizeof(T)), std::memcpy(tnu, nu, g.ldp * sizeof(T));
        const T zero = constant<T>(0), one = constant<T>(1);
        for (int i = 0; i < g.m; ++i) {
            on[i] = lam[i] > s[i] ? one : zero;
            tlam[i] = lam[i] > s[i] ? lam[i] : zero;
        }
    }

    // One predictor-corrector step; returns its length.
    T step(T mu) {
        for (int i = 0; i < g.m; ++i) w[i] = lam[i] / (s[i] + WEIGHT_SHIFT * lam[i]);
        sys.newton(w);
        for (int i = 0; i < g.m; ++i) rs[i] = s[i];
        direction();
        const T reach = longest(1.0);
        const T rest = 1 - reach, sigma = rest * rest * rest * mu;
        // The predictor is walked only as far as `reach`: that is what its second-order term is worth.
        for (int i = 0; i < g.m; ++i) rs[i] = s[i] - (sigma - reach * reach * ds[i] * dlam[i]) / lam[i];
        direction();
        const T alpha = longest(STEP_FRACTION);
        for (int j = 0; j < g.n; ++j) x[j] += alpha * dx[j];
        for (int i = 0; i < g.m; ++i) lam[i] += alpha * dlam[i], s[i] += alpha * ds[i];
        for (int i = 0; i < g.p; ++i) nu[i] += alpha * dnu[i];
        const T left = 1 - alpha;
        for (int j = 0; j < g.n; ++j) rx[j] *= left;
        for (int i = 0; i < g.m; ++i) rg[i] *= left;
        for (int i = 0; i < g.p; ++i) ra[i] *= left;
        return alpha;
    }

    // Newton direction for residuals rx, rg, ra and complementarity λ ∘ rs.
    void direction() {
        for (int i = 0; i < g.m; ++i) dlam[i] = w[i] * (rs[i] - rg[i]);
        for (int j = 0; j < g.n; ++j) dx[j] = -rx[j];
        for (int i = 0; i < g.p; ++i) dnu[i] = -ra[i];
        g.G.add_transposed(dlam, dx);
        sys.newton_solve(dx, dnu);
        g.G.multiply(dx, Gdx);
        for (int i = 0; i < g.m; ++i) dlam[i] = w[i] * Gdx[i] - dlam[i], ds[i] = -rg[i] - Gdx[i];
    }

    T longest(double fraction) const {
        V least = Lane<T>::splat(constant<T>(1 / fraction));
        const V far = least;
        for (int i = 0; i < g.ldm; i += Lane<T>::width) {
            const V a = pack(dlam + i), b = pack(ds + i);
            least = smaller(least, a < 0 ? -pack(lam + i) / a : far);
            least = smaller(least, b < 0 ? -pack(s + i) / b : far);
        }
        return smaller(fraction * Lane<T>::min(least), constant<T>(1));
    }

    // Solve the equations of the active set `on` from (tx, tlam, tnu), correct the set where the answer refutes it, and record
    // the lanes of `want`. Such corrections are semismooth Newton steps on the optimality conditions: from near enough the number of rows
    // that change falls to zero. Where a set costs little it is refuted before its answer is refined, and the whole is given up as soon as
    // that number falls no more.
    void try_active_set(Mask want, T iteration, double tol, bool last) {
        const bool quick = sys.quick();
        T changes = constant<T>(1e300), poor = constant<T>(0);
        for (int round = 1; round <= (quick ? MOST_QUICK : MOST_ROUNDS); ++round) {
            sys.active(on);
            round == 1 ? residual(tx, tlam, tnu) : slope(tlam, tnu);  // x has stayed
            correct();
            residual(tx, tlam, tnu);
            if (!quick) refine(want, tol), record(want & negate(done), iteration, tol, last);
            if (!any(want & negate(done))) return;
            const T now = refute(), one = constant<T>(1);
            const Mask moves = want & negate(done) & (now > 0.0);
            if (!any(moves)) break;
            if (quick) {
                poor += (now < CLOSING * changes) | (now <= FEW) ? 0 * one : one;
                changes = smaller(now, changes);
                if (!any(moves & (poor <= POOR))) return;
            } else {
                const Mask falls = now < changes;
                changes = now;
                if (round >= PATIENCE && !any(moves & falls)) return;
            }
        }
        if (quick) refine(want, tol), record(want & negate(done), iteration, tol, last);
    }

    // Correct until the residual is sharp or falls no more.
    void refine(Mask want, double tol) {
        T before = constant<T>(1e300);
        for (int correction = 1; correction <= CORRECTIONS; ++correction) {
            measure.residuals(tx, tlam, tnu, stationarity, slack, lack, Qx);
            const Mask going = want & negate(done) & (measure.worst > ENOUGH) & (measure.worst < 0.3 * before);
            before = measure.worst;
            if (!any(going) || correction == CORRECTIONS) break;
            correct();
            residual(tx, tlam, tnu);
        }
        sharpen(want, tol);
    }

    // A row whose terms all vanish at the solution has what rounding left of the largest variable. Another correction leaves the rounding of
    // a correction.
    void sharpen(Mask want, double tol) {
        T before = constant<T>(1e300);
        for (int correction = 0;; ++correction) {
            rowwise(want, tlam, tol);
            const Mask sharp = want & negate(done) & (measure.worst <= SHARP);
            const Mask going = sharp & (measure.row_worst > ROWS_SHARP) & (measure.row_worst < 0.3 * before);
            before = measure.row_worst;
            if (!any(going) || correction == SHARPENINGS) return;
            correct();
            residual(tx, tlam, tnu);
            measure.residuals(tx, tlam, tnu, stationarity, slack, lack, Qx);
        }
    }

    // Residuals row by row, where some lane may be taken.
    void rowwise(Mask want, const T* at_lam, double tol) {
        if (any(want & negate(done) & (measure.worst <= tol))) measure.rowwise(tx, at_lam, tnu, stationarity, slack, lack);
        else measure.row_worst = constant<T>(1e299);
    }

    void correct() {
        for (int j = 0; j < g.ldn; ++j) cx[j] = -stationarity[j];
        for (int i = 0; i < g.p; ++i) cnu[i] = lack[i];
        sys.active_solve(cx, slack, clam, cnu);
        for (int j = 0; j < g.n; ++j) tx[j] += cx[j];
        for (int i = 0; i < g.m; ++i) tlam[i] += clam[i];
        for (int i = 0; i < g.p; ++i) tnu[i] += cnu[i];
        // Rounding may leave an active multiplier at -1e-17: the sign is part of the answer.
        const T rounding = -1e-13 * max_abs(tlam, g.ldm), zero = constant<T>(0);
        for (int i = 0; i < g.m; ++i) tlam[i] = (tlam[i] < zero) & (tlam[i] > rounding) ? zero : tlam[i];
    }

    // The next guess: active rows with positive multipliers and violated rows. How many rows change.
    T refute() {
        const T zero = constant<T>(0), one = constant<T>(1);
        T changed = zero;
        for (int i = 0; i < g.m; ++i) {
            const T next = (on[i] > 0.5 ? tlam[i] > zero : slack[i] < zero) ? one : zero;
            changed += next != on[i] ? one : zero;
            on[i] = next;
            tlam[i] = next > 0.5 ? larger(tlam[i], zero) : zero;
        }
        return changed;
    }

    // Keep the point if its residual is the smallest so far; done where it is sharp. Where active rows are dependent a set that was found by
    // corrections ends at a corner of the multipliers, with zeros on rows that do bind: the derivative needs the interior of that face, which
    // the iteration goes to. Until it has ended (`last`) a point with a doubtful row is not taken.
    void record(Mask want, T iteration, double tol, bool last) {
        // Negative multipliers are cut off, and what is recorded is measured: where h is large beside λ a tiny λᵢ moves hᵀλ by much.
        const T zero = constant<T>(0);
        T lowest = zero;
        for (int i = 0; i < g.m; ++i) clam[i] = larger(tlam[i], zero), lowest = smaller(lowest, tlam[i]);
        if (any(want & (lowest < zero))) {
            residual(tx, clam, tnu);
            measure.residuals(tx, clam, tnu, stationarity, slack, lack, Qx);
            // row by row the other lanes have been measured already
            if (any(want & (lowest < zero) & (measure.worst <= tol))) measure.rowwise(tx, clam, tnu, stationarity, slack, lack);
        }
        const T error = measure.judged(tol);
        Mask good = want & (error < best);
        if (!any(good)) return;
        const Mask told = beyond_doubt();
        if (!last) good = good & told;
        evident = good ? told : evident;
        for (int j = 0; j < g.n; ++j) ex[j] = good ? tx[j] : ex[j];
        for (int i = 0; i < g.m; ++i) elam[i] = good ? clam[i] : elam[i], eslack[i] = good ? slack[i] : eslack[i];
        for (int i = 0; i < g.m; ++i) ebinds[i] = good ? binds[i] : ebinds[i];
        for (int i = 0; i < g.p; ++i) enu[i] = good ? tnu[i] : enu[i];
        const T now[6] = {measure.primal, measure.dual, measure.gap, measure.row_primal, measure.row_dual, measure.row_gap};
        for (int k = 0; k < 6; ++k) eresiduals[k] = good ? now[k] : eresiduals[k];
        evalue = good ? measure.objective : evalue, eiterations = good ? iteration : eiterations;
        best = good ? error : best;
        done = done | (good & (measure.worst <= (tol < SHARP ? tol : SHARP)) & (measure.row_worst <= (tol < ROWS_SHARP ? tol : ROWS_SHARP)));
    }

    // Where the active set never showed (a weakly active constraint hides it), the best of what was seen, of the last guess and of
    // the iterate itself, if it meets the tolerance.
    void settle(double tol, T iteration) {
        if (!any(negate(done))) return;
        guess();
        try_active_set(negate(done), iteration, tol, true);
        std::memcpy(tx, x, g.ldn * sizeof(T)), std::memcpy(tlam, lam, g.ldm * sizeof(T)), std::memcpy(tnu, nu, g.ldp * sizeof(T));
        residual(tx, tlam, tnu);
        measure.residuals(tx, tlam, tnu, stationarity, slack, lack, Qx);
        rowwise(negate(done), tlam, tol);
        record(negate(done), iteration, tol, true);
        done = best <= tol;
    }

    // Which constraints of (tx, clam, tnu, slack) bind, and whether all of them clearly do or clearly do not.
    Mask beyond_doubt() {
        const T x_max = max_abs(tx, g.ldn), y_max = larger(larger(max_abs(clam, g.ldm), max_abs(tnu, g.ldp)), constant<T>(1));
        const T zero = constant<T>(0), one = constant<T>(1);
        Mask told = zero < one;
        for (int i = 0; i < g.m; ++i) {
            const T size = larger(larger(absolute(g.h[i]), x_max), constant<T>(1e-2));
            const T slack_hat = larger(slack[i], zero) / size, lam_hat = clam[i] / y_max;
            const T most = larger(slack_hat, lam_hat), least = smaller(slack_hat, lam_hat);
            told = told & (most >= CLEAR) & (least <= STRICTLY * most);
            binds[i] = lam_hat > slack_hat ? one : zero;
        }
        return told;
    }

    // ACTIVE = 1, INACTIVE = 0 where beyond doubt; one constraint in doubt leaves the whole problem to the torch rule.
    void classify(signed char* kind, int lane) const {
        const bool told = at(evident, lane);
        for (int i = 0; i < g.m; ++i) kind[i] = told ? (signed char)Lane<T>::get(ebinds[i], lane) : Activity::UNCLEAR;
    }
};

}  // namespace CORE
