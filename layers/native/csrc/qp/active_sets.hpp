// The polish: the equations of an active set are solved, the set is corrected where the answer refutes it, and the best point is kept.
#pragma once
#include "qp/activity.hpp"
#include "qp/kkt.hpp"
#include "qp/newton.hpp"

namespace CORE {

using convex_layers::CLEAR;
using convex_layers::NEAR;
using convex_layers::ROWS_SHARP;
using convex_layers::STRICTLY;

constexpr int CORRECTIONS = 5, LAST_CORRECTIONS = 40;  // refinements of an active set, and of the last one,
constexpr double SLOWEST = 0.8;             // while each leaves no more than this part of the residual
// Active sets tried per polish; how many before fewer and fewer rows have to change; by how much fewer where sets cost little, and how
// few are few enough.
constexpr int MOST_ROUNDS = 12, PATIENCE = 3;
constexpr double CLOSING = 0.8, FEW = 2, POOR = 3, RISES = 1.5;
constexpr int MOST_QUICK = 20;
constexpr double SHARP = 1e-13;             // a point with this residual needs no better one, and one of a set with NEAR is nearer than any iterate
constexpr double ENOUGH = 4e-15;            // and no longer refined at this one
constexpr double SOLVED = 1e-11;            // the slack of a row whose equation has been solved, relative to scale
constexpr int BEYOND_ROUNDING = 40;         // corrections by residuals of twice the working precision; each gains the digits that the factor has
// A point is right to rounding where a correction of x is this part of it, and what is left of stationarity this part of the multipliers: with a
// condition of 1e8 they are as right. A correction that is less needs no other. The least size of a point of an equilibrated problem.
constexpr double NO_MORE = 1e-16, NOTHING_LEFT = 1e-23, LEAST = 1e-26, EXPECTED = 1e-6;
constexpr int SHARPENINGS = 8;              // refinements that a sharp point is worth for the sake of its rows one by one

template <class T, class Systems>
struct ActiveSets {
    using Mask = typename Lane<T>::Mask;
    using Matrix = typename Systems::Matrix;
    Group<T, Matrix>& g;
    Systems& sys;
    Measure<T, Matrix> measure;
    struct { T *x, *lam, *nu, *on, *binds; } trial;           // a point, the set whose equations it solves, and what binds there
    struct { T *stationarity, *slack, *lack, *Qx; } off;      // Qx + q + Gᵀλ + Aᵀν, h − Gx, b − Ax, Qx at a point
    struct { T *x, *lam, *nu; } change;                       // a correction; λ also without its negative parts
    struct {
        T *x, *lam, *nu, *slack, *binds, objective, iterations;
        T error, residuals[6];  // what it is judged by; in norm and row by row
        Mask evident;           // every constraint is active or inactive beyond doubt
    } best;                     // of the points seen so far
    Mask done;

    static long entries(const Data& d) {
        return Measure<T, Matrix>::entries(d) + 5L * padded<T>(d.n) + 8L * padded<T>(d.m) + 4L * padded<T>(d.p) + 17 * 8;
    }

    ActiveSets(Arena& a, Group<T, Matrix>& group, Systems& systems) : g(group), sys(systems), measure(a, g) {
        for (T** v : {&trial.x, &off.stationarity, &off.Qx, &change.x, &best.x}) *v = zeros<T>(a, g.ldn);
        for (T** v : {&trial.lam, &trial.on, &trial.binds, &off.slack, &change.lam, &best.lam, &best.slack, &best.binds}) *v = zeros<T>(a, g.ldm);
        for (T** v : {&trial.nu, &off.lack, &change.nu, &best.nu}) *v = zeros<T>(a, g.ldp);
    }

    // The data are there: nothing has been seen.
    void prepare() {
        measure.prepare();
        done = best.evident = constant<T>(0) > 1.0;
        best.iterations = constant<T>(0);
        forget();
    }

    void forget() {
        done = constant<T>(0) > 1.0;
        best.error = constant<T>(1e299);
    }

    void start_from_zero() {
        clear(trial.x, g.ldn);
        clear(trial.lam, g.ldm);
        clear(trial.nu, g.ldp);
        clear(trial.on, g.ldm);
    }

    // stationarity, slack, lack and Qx at a point
    void residual(const T* at_x, const T* at_lam, const T* at_nu) {
        g.Q.multiply(at_x, off.Qx);
        slope(at_lam, at_nu);
        g.G.multiply(at_x, off.slack);
        for (int i = 0; i < g.m; ++i) off.slack[i] = g.h[i] - off.slack[i];
        g.A.multiply(at_x, off.lack);
        for (int i = 0; i < g.p; ++i) off.lack[i] = g.b[i] - off.lack[i];
    }

    // Solve the equations of the active set `trial.on` from the trial point, correct the set where the answer refutes it, and record
    // the lanes of `want`. Such corrections are semismooth Newton steps on the optimality conditions: from near enough the number of rows
    // that change falls to zero. Where a set costs little it is refuted before its answer is refined, and the whole is given up as soon as
    // that number falls no more. `told` are lanes of an iterate every row of which tells by itself whether it is in the set.
    void attempt(Mask want, T iteration, double tol, bool last, Mask told) {
        const bool quick = sys.quick();
        const T zero = constant<T>(0);
        T changes = constant<T>(1e300), poor = zero;
        for (int round = 1; round <= (quick ? MOST_QUICK : MOST_ROUNDS); ++round) {
            sys.active(trial.on);
            round == 1 ? residual(trial.x, trial.lam, trial.nu) : slope(trial.lam, trial.nu);  // x has stayed
            correct();
            residual(trial.x, trial.lam, trial.nu);
            if (!quick) {
                refine(want, tol, last);
                record(want & negate(done), iteration, tol, last, told);
                told = zero > zero;  // a corrected set is not the iterate's
            }
            if (!any(want & negate(done))) return;
            const T now = refute(), one = constant<T>(1);
            const Mask moves = want & negate(done) & (now > 0.0);
            if (!any(moves)) break;
            if (quick) {
                poor += (now < CLOSING * changes) | (now <= FEW) ? 0 * one : one;
                changes = smaller(now, changes);
                // Weakly active rows go in and out for ever: the point is the same, and in the end it is taken.
                if (!any(moves & (poor <= POOR))) {
                    if (!last) return;
                    break;
                }
            } else {
                const Mask falls = now < (round < PATIENCE ? RISES : 1) * changes;
                changes = now;
                if (!any(moves & falls)) return;
            }
        }
        if (quick) {
            refine(want, tol, last);
            record(want & negate(done), iteration, tol, last, zero > zero);
        }
    }

    // The point (trial.x, trial.lam, trial.nu) itself, where no set has come near: at a weakly active row an iterate of a small residual is
    // still the root of that away from the solution.
    void take(T iteration, double tol) {
        const Mask want = negate(done) & negate(best.error <= NEAR);
        if (!any(want)) return;
        residual(trial.x, trial.lam, trial.nu);
        measure_at(trial.lam);
        rowwise(want, trial.lam, tol);
        record(want, iteration, tol, true, want);
    }

    // The numbers of a single problem beyond rounding, whatever the condition of its equations, those of the set `trial.on`; the trial point is
    // rounded from them. Where corrections do not come to nothing these are no better than others, and nothing is taken.
    void refine_beyond(convex_layers::Precise& point, double tol) {
        if constexpr (Lane<T>::count == 1) {
            sys.active(trial.on);
            double left = 1, step = 1e300, before = 2 * step;
            int correction = 0;
            for (; step > LEAST && step < before && correction < BEYOND_ROUNDING; ++correction) {
                left = aim(point);
                sys.active_solve(change.x, off.slack, change.lam, change.nu);
                before = step;
                step = max_abs(change.x, g.ldn) / larger(max_abs(trial.x, g.ldn), EXPECTED);
                move(point, 1);
            }
            if (!(left <= NOTHING_LEFT && step <= NO_MORE)) return;
            // Of dependent rows whose right-hand sides contradict each other by rounding, multipliers grow by the same in every correction.
            clear(change.x, g.ldn);
            move(point, -correction);
            take(constant<T>(0), tol);
        }
    }

    // ACTIVE = 1, INACTIVE = 0 where beyond doubt; one constraint in doubt, or a point that is not sharp, leaves the whole problem to torch,
    // which polishes it again before it tells.
    void classify(signed char* kind, int lane) const {
        bool told = at(best.evident, lane) && Lane<T>::get(best.error, lane) <= NEAR;
        for (int k = 3; k < 6; ++k) told = told && Lane<T>::get(best.residuals[k], lane) <= ROWS_SHARP;
        for (int i = 0; i < g.m; ++i) kind[i] = told ? (signed char)Lane<T>::get(best.binds[i], lane) : (signed char)convex_layers::Activity::UNCLEAR;
    }

  private:
    void measure_at(const T* lam) { measure.residuals(trial.x, lam, trial.nu, off.stationarity, off.slack, off.lack, off.Qx); }
    void rows_at(const T* lam) { measure.rowwise(trial.x, lam, trial.nu, off.stationarity, off.slack, off.lack); }

    // stationarity from Qx
    void slope(const T* at_lam, const T* at_nu) {
        for (int j = 0; j < g.ldn; ++j) off.stationarity[j] = off.Qx[j] + g.q[j];
        g.G.add_transposed(at_lam, off.stationarity);
        g.A.add_transposed(at_nu, off.stationarity);
    }

    // What a point leaves as the right-hand side of a correction; of stationarity, relative to the multipliers.
    double aim(const convex_layers::Precise& point) {
        point.residual(off.stationarity, off.slack, off.lack);
        for (int j = 0; j < g.n; ++j) change.x[j] = -g.c / g.r * g.D[j] * off.stationarity[j];
        for (int i = 0; i < g.m; ++i) off.slack[i] *= g.Eg[i] / g.r;
        for (int i = 0; i < g.p; ++i) change.nu[i] = g.Ea[i] / g.r * off.lack[i];
        return max_abs(change.x, g.ldn) / larger(larger(max_abs(trial.lam, g.ldm), max_abs(trial.nu, g.ldp)), EXPECTED);
    }

    // So many changes of a point, from which the trial point is rounded.
    void move(convex_layers::Precise& point, double times) {
        g.caller(change.x, change.lam, change.nu, trial.x, trial.lam, trial.nu);
        point.add(times, trial.x, trial.lam, trial.nu);
        point.numbers(trial.x, trial.lam, trial.nu);
        g.group(trial.x, trial.lam, trial.nu);
    }

    // Correct until the residual is sharp or falls no more: at last also where it falls slowly, beside rows that are nearly parallel.
    void refine(Mask want, double tol, bool last) {
        const int most = last ? LAST_CORRECTIONS : CORRECTIONS;
        T before = constant<T>(1e300);
        for (int correction = 1; correction <= most; ++correction) {
            measure_at(trial.lam);
            const Mask going = want & negate(done) & (measure.worst > ENOUGH) & (measure.worst < (last ? SLOWEST : 0.3) * before);
            before = measure.worst;
            if (!any(going) || correction == most) break;
            correct();
            residual(trial.x, trial.lam, trial.nu);
        }
        sharpen(want, tol);
    }

    // A row whose terms all vanish at the solution has what rounding left of the largest variable. Another correction leaves the rounding of
    // a correction.
    void sharpen(Mask want, double tol) {
        T before = constant<T>(1e300);
        for (int correction = 0;; ++correction) {
            rowwise(want, trial.lam, tol);
            const Mask sharp = want & negate(done) & (measure.worst <= SHARP);
            const Mask going = sharp & (measure.row_worst > ROWS_SHARP) & (measure.row_worst < 0.7 * before);
            before = measure.row_worst;
            if (!any(going) || correction == SHARPENINGS) return;
            correct();
            residual(trial.x, trial.lam, trial.nu);
            measure_at(trial.lam);
        }
    }

    // Residuals row by row, where some lane may be taken.
    void rowwise(Mask want, const T* at_lam, double tol) {
        if (any(want & negate(done) & (measure.worst <= tol))) rows_at(at_lam);
        else measure.row_worst = constant<T>(1e299);
    }

    void correct() {
        for (int j = 0; j < g.ldn; ++j) change.x[j] = -off.stationarity[j];
        for (int i = 0; i < g.p; ++i) change.nu[i] = off.lack[i];
        sys.active_solve(change.x, off.slack, change.lam, change.nu);
        for (int j = 0; j < g.n; ++j) trial.x[j] += change.x[j];
        for (int i = 0; i < g.m; ++i) trial.lam[i] += change.lam[i];
        for (int i = 0; i < g.p; ++i) trial.nu[i] += change.nu[i];
        // Rounding may leave an active multiplier at -1e-17: the sign is part of the answer.
        const T rounding = -1e-13 * max_abs(trial.lam, g.ldm), zero = constant<T>(0);
        for (int i = 0; i < g.m; ++i) trial.lam[i] = (trial.lam[i] < zero) & (trial.lam[i] > rounding) ? zero : trial.lam[i];
    }

    // The next guess: active rows with positive multipliers and violated rows. How many rows change.
    T refute() {
        const T zero = constant<T>(0), one = constant<T>(1);
        T changed = zero;
        for (int i = 0; i < g.m; ++i) {
            const T next = (trial.on[i] > 0.5 ? trial.lam[i] > zero : off.slack[i] < zero) ? one : zero;
            changed += next != trial.on[i] ? one : zero;
            trial.on[i] = next;
            trial.lam[i] = next > 0.5 ? larger(trial.lam[i], zero) : zero;
        }
        return changed;
    }

    // Keep the point if its residual is the smallest so far; done where it is sharp. Where active rows are dependent a set that was found by
    // corrections ends at a corner of the multipliers, with zeros on rows that do bind: the derivative needs the interior of that face, which
    // the iteration goes to. Until it has ended (`last`) a point with a doubtful row is taken only where the iterate had none and the first set was right.
    void record(Mask want, T iteration, double tol, bool last, Mask right) {
        // Negative multipliers are cut off, and what is recorded is measured: where h is large beside λ a tiny λᵢ moves hᵀλ by much.
        const T zero = constant<T>(0);
        T lowest = zero;
        for (int i = 0; i < g.m; ++i) {
            change.lam[i] = larger(trial.lam[i], zero);
            lowest = smaller(lowest, trial.lam[i]);
        }
        if (any(want & (lowest < zero))) {
            residual(trial.x, change.lam, trial.nu);
            measure_at(change.lam);
            // row by row the other lanes have been measured already
            if (any(want & (lowest < zero) & (measure.worst <= tol))) rows_at(change.lam);
        }
        const T error = measure.judged(tol);
        Mask good = want & (error < best.error);
        if (!any(good)) return;
        const Mask told = beyond_doubt();
        if (!last) good = good & (told | (right & (measure.worst <= SHARP) & (measure.row_worst <= ROWS_SHARP)));
        best.evident = good ? told : best.evident;
        for (int j = 0; j < g.n; ++j) best.x[j] = good ? trial.x[j] : best.x[j];
        for (int i = 0; i < g.m; ++i) {
            best.lam[i] = good ? change.lam[i] : best.lam[i];
            best.slack[i] = good ? off.slack[i] : best.slack[i];
        }
        for (int i = 0; i < g.m; ++i) best.binds[i] = good ? trial.binds[i] : best.binds[i];
        for (int i = 0; i < g.p; ++i) best.nu[i] = good ? trial.nu[i] : best.nu[i];
        const T now[6] = {measure.primal, measure.dual, measure.gap, measure.row_primal, measure.row_dual, measure.row_gap};
        for (int k = 0; k < 6; ++k) best.residuals[k] = good ? now[k] : best.residuals[k];
        best.objective = good ? measure.objective : best.objective;
        best.iterations = good ? iteration : best.iterations;
        best.error = good ? error : best.error;
        done = done | (good & (measure.worst <= (tol < SHARP ? tol : SHARP)) & (measure.row_worst <= (tol < ROWS_SHARP ? tol : ROWS_SHARP)));
    }

    // Which constraints of (trial.x, change.lam, trial.nu) bind, and whether all of them clearly do or clearly do not.
    Mask beyond_doubt() {
        const T x_max = max_abs(trial.x, g.ldn), y_max = larger(larger(max_abs(change.lam, g.ldm), max_abs(trial.nu, g.ldp)), constant<T>(1));
        const T zero = constant<T>(0), one = constant<T>(1);
        Mask told = zero < one;
        for (int i = 0; i < g.m; ++i) {
            const T size = larger(larger(absolute(g.h[i]), x_max), constant<T>(1e-2));
            const T slack_hat = larger(off.slack[i], zero) / size, lam_hat = change.lam[i] / y_max;
            const T most = larger(slack_hat, lam_hat), least = smaller(slack_hat, lam_hat);
            told = told & (most >= CLEAR) & (least <= STRICTLY * most) & (least <= SOLVED);
            trial.binds[i] = lam_hat > slack_hat ? one : zero;
        }
        // Multipliers that grow against each other, as those of rows that pin a point, hide what the others are.
        return told & negate(measure.cancel);
    }
};

}  // namespace CORE
