// The relative KKT residuals of layers/qp/kkt.py, on the caller's data, from quantities of the equilibrated group.
#pragma once
#include "qp/parts.hpp"

namespace CORE {

template <class T, class M>
struct Measure {
    Group<T, M>& g;
    T suggested, q_size, matrix, y_unit;
    T z_hat, y_hat;
    T primal, dual, gap, worst, objective;  // in norm
    T row_primal, row_dual, row_gap, row_worst;
    T gradient, gap_scale;                              // the largest of q and Qẑ; what the gap is measured against
    T *g_size, *a_size, *column_size, *share;
    T *pull, *pull_A;  // maxᵢ |Gᵢⱼ| / ‖Gᵢ‖ over λᵢ ≠ 0 and that of A, in the units of columns; and of A alone
    T* held;  // |Q||z| + |q|
    typename Lane<T>::Mask cancel;  // where multipliers hold up a given number that is next to nothing of them: row by row

    static long entries(const Data& d) { return 2L * padded<T>(d.m) + padded<T>(d.p) + 4L * padded<T>(d.n) + 7 * 8; }
    Measure(Arena& arena, Group<T, M>& group) : g(group) {
        g_size = zeros<T>(arena, g.ldm);
        share = zeros<T>(arena, g.ldm);
        a_size = zeros<T>(arena, g.ldp);
        column_size = zeros<T>(arena, g.ldn);
        pull = zeros<T>(arena, g.ldn);
        pull_A = zeros<T>(arena, g.ldn);
        held = zeros<T>(arena, g.ldn);
    }

    // What depends on the data only.
    void prepare() {
        whole = constant<T>(0) > 1.0;
        T size = constant<T>(0), q_max = constant<T>(0), rows = constant<T>(0);
        y_unit = g.r / g.c;
        for (int i = 0; i < g.m; ++i) {
            size = larger(size, g.r * absolute(g.h[i]) / (g.Eg[i] * or_one(g.g_row[i])));
            rows = larger(rows, g.g_row[i]);
        }
        for (int i = 0; i < g.p; ++i) {
            size = larger(size, g.r * absolute(g.b[i]) / (g.Ea[i] * or_one(g.a_row[i])));
            rows = larger(rows, g.a_row[i]);
        }
        for (int j = 0; j < g.n; ++j) q_max = larger(q_max, y_unit * absolute(g.q[j]) / g.D[j]);
        const T free = g.scale > 0 ? q_max / or_one(g.scale) : constant<T>(0);
        suggested = smaller(or_one(larger(size, free)), constant<T>(1));
        q_size = q_max;
        matrix = or_one(rows);
        for (int i = 0; i < g.p; ++i) a_size[i] = 1 / (g.Ea[i] * or_one(g.a_row[i]));
        clear(pull_A, g.ldn);
        g.A.largest_terms_transposed(a_size, pull_A);
    }

    // stationarity = Qx + q + Gᵀλ + Aᵀν, slack = h − Gx, lack = b − Ax, Qx: all of the equilibrated problem.
    void residuals(const T* x, const T* lam, const T* nu, const T* stationarity, const T* slack, const T* lack, const T* Qx) {
        const T zero = constant<T>(0), one = constant<T>(1);
        T z_max = zero, y_max = zero, least = zero;
        for (int j = 0; j < g.n; ++j) z_max = larger(z_max, absolute(x[j]) * g.D[j]);
        for (int i = 0; i < g.m; ++i) {
            const T value = lam[i] * g.Eg[i];
            y_max = larger(y_max, absolute(value));
            least = smaller(least, value);
        }
        for (int i = 0; i < g.p; ++i) y_max = larger(y_max, absolute(nu[i]) * g.Ea[i]);
        z_hat = larger(g.r * z_max, suggested);
        gradient = larger(q_size, g.scale * z_hat);
        y_hat = larger(y_unit * y_max, smaller(or_one(gradient / matrix), one));
        primal = zero;
        dual = -y_unit * least / y_hat;
        for (int i = 0; i < g.m; ++i) {
            const T unit = g.r / g.Eg[i];
            primal = larger(primal, -slack[i] * unit / or_one(larger(absolute(g.h[i]) * unit, g.g_row[i] * z_hat)));
        }
        for (int i = 0; i < g.p; ++i) {
            const T unit = g.r / g.Ea[i];
            primal = larger(primal, absolute(lack[i]) * unit / or_one(larger(absolute(g.b[i]) * unit, g.a_row[i] * z_hat)));
        }
        for (int j = 0; j < g.n; ++j) {
            const T unit = y_unit / g.D[j];
            const T columns = larger(g.g_column[j], g.a_column[j]) * y_hat;
            const T size = larger(larger(absolute(g.q[j]) * unit, g.Q_row[j] * z_hat), columns);
            dual = larger(dual, absolute(stationarity[j]) * unit / or_one(size));
        }
        const T unit = g.r * y_unit;
        const T quadratic = dot(x, Qx, g.ldn) * unit, linear = dot(x, g.q, g.ldn) * unit;
        const T from_h = dot(g.h, lam, g.ldm) * unit, from_b = dot(g.b, nu, g.ldp) * unit;
        const T floor = smaller(or_one(gradient) * z_hat, one);
        const T all = unit * (magnitude(x, Qx, g.ldn) + magnitude(x, g.q, g.ldn) + magnitude(g.h, lam, g.ldm) + magnitude(g.b, nu, g.ldp));
        const T terms = larger(larger(larger(absolute(quadratic), absolute(linear)), larger(absolute(from_h), absolute(from_b))), NOISE * all);
        const T sum = quadratic + linear + from_h + from_b;
        gap_scale = or_one(larger(terms, floor));
        gap = larger(absolute(sum) - ROUNDING * all, zero) / gap_scale;
        objective = 0.5 * quadratic + linear;
        worst = larger(larger(primal, dual), gap);
        // comparisons drop NaN: a sum does not
        const T doubt = z_max + y_max + sum + stationarity_sum(stationarity);
        worst = doubt - doubt == 0 ? worst : constant<T>(1e300);
    }

    // What a status is judged by: Residuals.largest of layers/solution.py.
    T judged(double tol) const {
        if (tol > convex_layers::LOOSE) return worst;
        const T zero = constant<T>(0), equations = larger(row_primal, row_dual);
        const T rows = larger(equations > convex_layers::ROWS ? equations : zero, row_gap > convex_layers::ROWS_GAP ? row_gap : zero);
        return larger(worst, row_worst < 1e299 ? rows : row_worst);
    }

    // The same row by row, each against the terms that it adds up. After residuals() at this point; λ ≥ 0.
    void rowwise(const T* x, const T* lam, const T* nu, const T* stationarity, const T* slack, const T* lack) {
        sizes(x, lam, nu);
        pulls(lam);
        cancel = constant<T>(0) > 1.0;
        for (int j = 0; j < g.n; ++j) cancel = cancel | ((absolute(g.q[j]) > 0.0) & (held[j] < CANCELLED * column_size[j]));
        const Mask excused = raise_to_noise(lam, stationarity, slack, lack);
        ratios(lam, stationarity, slack, lack);
        const Mask asked = excused & negate(whole);
        if (any(asked)) judge_by_parts(asked, x, lam, nu, stationarity, slack, lack);
        // What x may lower the objective by, where more than a gap may be: far out what is left of stationarity is next to none of its terms
        const T at_stake = g.r * y_unit * magnitude(x, stationarity, g.ldn) / gap_scale;
        row_gap = at_stake > convex_layers::ROWS_GAP ? larger(row_gap, at_stake) : row_gap;
        row_worst = larger(row_worst, row_gap);
    }

  private:
    using Mask = typename Lane<T>::Mask;
    Mask whole;  // where all rows are known to be connected
    static constexpr double ROUNDED = 1e-14;  // the room of rows that bind
    static constexpr double CANCELLED = 1e-9;  // of multipliers

    // (|G||z| + |h|)ᵢ, (|A||z| + |b|)ᵢ and (|Q||z| + |q| + |G|ᵀ|λ| + |A|ᵀ|ν|)ⱼ in the units of the group
    void sizes(const T* x, const T* lam, const T* nu) {
        for (int i = 0; i < g.m; ++i) g_size[i] = absolute(g.h[i]);
        for (int i = 0; i < g.p; ++i) a_size[i] = absolute(g.b[i]);
        for (int j = 0; j < g.ldn; ++j) column_size[j] = absolute(g.q[j]);
        g.G.add_magnitudes(x, g_size);
        g.A.add_magnitudes(x, a_size);
        g.Q.add_magnitudes(x, column_size);
        std::memcpy(held, column_size, g.ldn * sizeof(T));
        g.G.add_magnitudes_transposed(lam, column_size);
        g.A.add_magnitudes_transposed(nu, column_size);
    }

    // A row whose multiplier is zero does nothing to a column.
    void pulls(const T* lam) {
        const T zero = constant<T>(0);
        for (int i = 0; i < g.m; ++i) share[i] = lam[i] == 0 ? zero : 1 / (g.Eg[i] * or_one(g.g_row[i]));
        std::memcpy(pull, pull_A, g.ldn * sizeof(T));
        g.G.largest_terms_transposed(share, pull);
    }

    // Terms are at least NOISE of the scale in norm, or of the largest force; in which lanes a row is sharp by that alone, or may be.
    Mask raise_to_noise(const T* lam, const T* stationarity, const T* slack, const T* lack) {
        using convex_layers::ROWS_SHARP;
        const T z_noise = NOISE * z_hat / g.r, noise = NOISE / y_unit, zero = constant<T>(0);
        T force = gradient == 0 ? constant<T>(1) / y_unit : zero;
        for (int j = 0; j < g.n; ++j) force = larger(force, column_size[j] / g.D[j]);
        Mask missed = zero > 1.0, small = missed, loose = missed;
        for (int i = 0; i < g.m; ++i) {
            const T least = g.Eg[i] * g.g_row[i] * z_noise;
            const Mask below = g_size[i] < least;
            missed = missed | (below & (-slack[i] > ROWS_SHARP * g_size[i]));
            loose = loose | ((lam[i] > zero) & (slack[i] > ROWS_SHARP * g_size[i]));
            small = small | below;
            g_size[i] = or_one(larger(g_size[i], least));
        }
        for (int i = 0; i < g.p; ++i) {
            const T least = g.Ea[i] * g.a_row[i] * z_noise;
            missed = missed | ((a_size[i] < least) & (absolute(lack[i]) > ROWS_SHARP * a_size[i]));
            a_size[i] = or_one(larger(a_size[i], least));
        }
        for (int j = 0; j < g.n; ++j) {
            const T least = larger(g.D[j] * noise * g.Q_row[j] * z_hat, NOISE * pull[j] * force);
            const Mask below = column_size[j] < least;
            missed = missed | (below & (absolute(stationarity[j]) > ROWS_SHARP * column_size[j]));
            small = small | below;
            column_size[j] = or_one(larger(column_size[j], least));
        }
        return missed | (loose & small);
    }

    void ratios(const T* lam, const T* stationarity, const T* slack, const T* lack) {
        const T zero = constant<T>(0);
        row_primal = row_dual = row_gap = zero;
        for (int i = 0; i < g.m; ++i) {
            const T room = slack[i] / g_size[i];
            row_primal = larger(row_primal, -room);
            row_gap = lam[i] > zero ? larger(row_gap, room) : row_gap;
        }
        for (int i = 0; i < g.p; ++i) row_primal = larger(row_primal, absolute(lack[i]) / a_size[i]);
        for (int j = 0; j < g.n; ++j) row_dual = larger(row_dual, absolute(stationarity[j]) / column_size[j]);
        if (any(row_gap > ROUNDED)) weigh_multipliers(lam, slack);
        row_worst = larger(larger(row_primal, row_dual), row_gap);
    }

    // The excuse of a row is the noise of its own part.
    void judge_by_parts(Mask asked, const T* x, const T* lam, const T* nu, const T* stationarity, const T* slack, const T* lack) {
        Mask again = constant<T>(0) > 1.0;
        sizes(x, lam, nu);
        for (int lane = 0; lane < Lane<T>::count; ++lane) {
            if (!at(asked, lane)) continue;
            const Parts<T, M> parts(g, lane, x, column_size, pull);
            put(parts.several ? again : whole, lane, true);
            if (!parts.several) continue;
            const auto raise = [&](T* size, const std::vector<double>& least) {
                for (std::size_t i = 0; i < least.size(); ++i)
                    Lane<T>::set(size[i], lane, larger(Lane<T>::get(size[i], lane), least[i]));
            };
            raise(g_size, parts.of_g);
            raise(a_size, parts.of_a);
            raise(column_size, parts.of_columns);
        }
        if (!any(again)) return;
        for (int i = 0; i < g.m; ++i) g_size[i] = or_one(g_size[i]);
        for (int i = 0; i < g.p; ++i) a_size[i] = or_one(a_size[i]);
        for (int j = 0; j < g.n; ++j) column_size[j] = or_one(column_size[j]);
        const T seen[4] = {row_primal, row_dual, row_gap, row_worst};
        ratios(lam, stationarity, slack, lack);
        row_primal = again ? row_primal : seen[0];
        row_dual = again ? row_dual : seen[1];
        row_gap = again ? row_gap : seen[2];
        row_worst = again ? row_worst : seen[3];
    }

    // The gap where some row has room and a multiplier: the room times the share in what the multiplier holds up. Inverts the
    // sizes of the columns, which are not needed any more.
    void weigh_multipliers(const T* lam, const T* slack) {
        const T zero = constant<T>(0);
        for (int j = 0; j < g.n; ++j) column_size[j] = 1 / column_size[j];
        g.G.largest_terms(column_size, share);
        row_gap = zero;
        for (int i = 0; i < g.m; ++i) row_gap = larger(row_gap, larger(slack[i], zero) / g_size[i] * (larger(lam[i], zero) * share[i]));
    }

    // Σ |uᵢ vᵢ|
    static T magnitude(const T* u, const T* v, int length) {
        V total = V{};
        for (int i = 0; i < length; i += Lane<T>::width) total += absolute(pack(u + i) * pack(v + i));
        return Lane<T>::sum(total);
    }

    T stationarity_sum(const T* v) const {
        T total = constant<T>(0);
        for (int j = 0; j < g.n; ++j) total += v[j];
        return total;
    }
};

}  // namespace CORE
