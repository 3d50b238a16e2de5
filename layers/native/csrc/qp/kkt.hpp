// The relative KKT residuals of layers/qp/kkt.py, on the caller's data, from quantities of the equilibrated group.
#pragma once
#include "qp/data.hpp"

namespace CORE {

template <class T, class M>
struct Measure {
    Group<T, M>& g;
    T suggested, q_size, matrix, y_unit;
    T primal, dual, gap, worst, objective;

    explicit Measure(Group<T, M>& group) : g(group) {}

    // What depends on the data only.
    void prepare() {
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
        q_size = q_max, matrix = or_one(rows);
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
        const T z_hat = larger(g.r * z_max, suggested);
        const T gradient = larger(q_size, g.scale * z_hat);
        const T y_hat = larger(y_unit * y_max, smaller(or_one(gradient / matrix), one));
        primal = zero, dual = -y_unit * least / y_hat;
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
        const T terms = larger(larger(absolute(quadratic), absolute(linear)), larger(absolute(from_h), absolute(from_b)));
        gap = absolute(quadratic + linear + from_h + from_b) / or_one(larger(terms, floor));
        objective = 0.5 * quadratic + linear;
        worst = larger(larger(primal, dual), gap);
        // comparisons drop NaN: a sum does not
        const T doubt = z_max + y_max + gap + stationarity_sum(stationarity);
        worst = doubt - doubt == 0 ? worst : constant<T>(1e300);
    }

  private:
    T stationarity_sum(const T* v) const {
        T total = constant<T>(0);
        for (int j = 0; j < g.n; ++j) total += v[j];
        return total;
    }
};

}  // namespace CORE
