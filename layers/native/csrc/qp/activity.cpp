// The rule asks for two measures of s and λ: one relative to the scales of all rows together (layers/qp/kkt.py: scales), one relative to the
// terms of the row itself (layers/qp/shares.py), both on the equilibrated problem (layers/qp/scaling.py), each part of it that nothing connects
// with the rest by itself.
#include "qp/activity.hpp"

#include <array>

#include "qp/entries.hpp"
#include "qp/pinned.hpp"

namespace convex_layers {

namespace {

constexpr int HOPS = 2;
constexpr double NOISE = 1e-7, OWN = 1e-6, GIVEN = 0.1;
// Parts whose objectives or solutions differ by more are solved again, each by itself, before anybody tells: simd/apart.cpp.
constexpr double FAR = 1e6;
// Next to nothing of all rows.
constexpr double LITTLE = 2e-6;
// The part of the terms around it that a number may be by rounding, at a point that is refined: layers/qp/activity.py.
constexpr double REFINED = 1e-15;
// What is more than this multiple of that of all rows is a number: of a slack and a multiplier that are both clear in their own rows the one that is.
constexpr double NUMBER = 1e3;

// One problem, or a part of one, and its solution.
struct Program {
    Entries Q, C;       // C = [G; A]
    Vector q, h, x, y;  // h = (h, b), y = (λ, ν)
    int m;              // rows of G

    Program(const Data& d, const Sparse* plan, const Answer& answer, long index)
        : Q(Entries::symmetric(d.Q + index * d.Q_stride, d.n, plan ? &plan->Q : nullptr)), C(d.n),
          q(d.q + index * d.q_stride, d.q + index * d.q_stride + d.n), h(d.h + index * d.h_stride, d.h + index * d.h_stride + d.m),
          x(answer.z + index * d.n, answer.z + (index + 1) * d.n), y(answer.lam + index * d.m, answer.lam + (index + 1) * d.m), m(d.m) {
        C.append_rows(d.G + index * d.G_stride, d.m, plan ? &plan->G : nullptr);
        C.append_rows(d.A + index * d.A_stride, d.p, plan ? &plan->A : nullptr);
        const double* b = d.b + index * d.b_stride;
        h.insert(h.end(), b, b + d.p);
        y.insert(y.end(), answer.nu + index * d.p, answer.nu + (index + 1) * d.p);
    }

    // The part of these variables and rows, in order; `place` says where a variable stands in its part.
    Program(const Program& whole, const std::vector<int>& variables, const std::vector<int>& rows, const std::vector<int>& place)
        : Q((int)variables.size()), C((int)variables.size()), m(0) {
        for (int j : variables) Q.append(whole.Q, j, place), q.push_back(whole.q[j]), x.push_back(whole.x[j]);
        for (int i : rows) C.append(whole.C, i, place), h.push_back(whole.h[i]), y.push_back(whole.y[i]), m += i < whole.m;
    }

    // Equilibrates; the sizes that objective and right-hand sides had in units of the rows.
    std::array<double, 2> equilibrate() {
        Vector D, E;
        ruiz(Q, C, D, E);
        Q.scale(D.data(), D);
        C.scale(E.data(), D);
        double logs = 0, count = 0;
        for (std::size_t i = 0; i < h.size(); ++i)
            if ((h[i] *= E[i]) != 0) logs += std::log2(std::fabs(h[i])), ++count;
        for (std::size_t j = 0; j < q.size(); ++j) q[j] *= D[j];
        const double Q_size = largest(Q.value), q_size = largest(q);
        const double r = nearest_power(std::max(std::exp2(logs / std::max(count, 1.0)), Q_size > 0 ? q_size / Q_size : 0.0));
        const double size = std::max(Q_size, q_size / r), c = 1 / nearest_power(or_one(size));
        for (double& v : Q.value) v *= c;
        for (std::size_t j = 0; j < q.size(); ++j) q[j] *= c / r, x[j] /= r * D[j];
        for (std::size_t i = 0; i < h.size(); ++i) h[i] /= r, y[i] *= c / r / E[i];
        return {size, r};
    }
};

Vector sizes(Vector v) {
    for (double& x : v) x = std::fabs(x);
    return v;
}

// Rows of C whose terms are no rounding: layers/qp/shares.py, _there. x, h, q, and what the rows sum up to, g and c, are magnitudes.
std::vector<char> there(const Program& s, const Vector& x, const Vector& h, const Vector& q, const Vector& g, const Vector& c) {
    const int n = (int)x.size(), rows = (int)h.size();
    std::vector<char> known(n, 0), found(rows, 0), pulled(n, 0);
    for (int i = 0; i < rows; ++i) found[i] = h[i] > 0 && h[i] >= GIVEN * g[i];
    for (int j = 0; j < n; ++j) pulled[j] = q[j] > 0 && q[j] >= GIVEN * c[j];
    bool more = true;
    // A variable that is a part of such a row is there, and so is a row that such a variable is a part of.
    const auto spread = [&](const Entries& M, const Vector& size, std::vector<char>& rows_there) {
        M.each([&](int i, int j, double v) {
            if (rows_there[i] == known[j] || std::fabs(v) * x[j] < GIVEN * size[i]) return;
            rows_there[i] = known[j] = 1;
            more = true;
        });
    };
    while (more) {
        more = false;
        spread(s.C, g, found);
        spread(s.Q, c, pulled);
    }
    return found;
}

// What terms come to in the rows and the columns that they are connected with: layers/qp/shares.py, _neighbours.
void neighbours(const Program& s, Vector z, Vector& g, Vector& c) {
    Vector pull = sizes(s.q);
    s.Q.add_sizes(z.data(), pull.data());
    for (int hop = 0; hop < HOPS; ++hop) {
        s.C.add_sizes_transposed(g.data(), z.data());
        s.Q.add_sizes(pull.data(), z.data());
        Vector held(g.size(), 0.0);
        std::fill(g.begin(), g.end(), 0.0);
        std::fill(pull.begin(), pull.end(), 0.0);
        s.C.add_sizes(z.data(), g.data());
        s.Q.add_sizes(z.data(), pull.data());
        s.C.add_sizes(c.data(), held.data());
        s.C.add_sizes_transposed(held.data(), c.data());
    }
}

// The class of every row of G, or nothing where one is in doubt; `error` is the largest residual in norm.
std::vector<signed char> kinds(const Program& s, double error, bool refined) {
    const double around = refined ? REFINED : NOISE;
    const int n = (int)s.x.size(), m = s.m;
    const Vector Q_row = s.Q.row_max(), row_max = s.C.row_max(), column_max = s.C.column_max();
    const Vector x = sizes(s.x), y = sizes(s.y), h = sizes(s.h), q = sizes(s.q);
    const double Q_size = largest(Q_row), q_size = largest(q);
    double suggested = Q_size > 0 ? q_size / Q_size : 0;
    for (std::size_t i = 0; i < h.size(); ++i) suggested = std::max(suggested, h[i] / or_one(row_max[i]));
    const double z_hat = std::max(largest(x), std::min(or_one(suggested), 1.0)), gradient = std::max(q_size, Q_size * z_hat);
    const double y_hat = std::max(largest(y), std::min(or_one(gradient / or_one(largest(row_max))), 1.0));

    Vector g = h, c = q;
    s.C.add_sizes(x.data(), g.data());
    s.Q.add_sizes(x.data(), c.data());
    s.C.add_sizes_transposed(y.data(), c.data());
    Vector near_g = g, near_c = c, given_g = h, given_c = q;
    const std::vector<char> own = there(s, x, h, q, g, c);
    neighbours(s, x, near_g, near_c);
    neighbours(s, Vector(n, 0.0), given_g, given_c);
    for (int j = 0; j < n; ++j) {
        const double scale = or_one(std::max(std::max(q[j], Q_row[j] * z_hat), column_max[j] * y_hat));
        c[j] = std::max(c[j], around * (given_c[j] > 0 ? std::min(scale, near_c[j]) : scale));
    }
    Vector held(h.size(), 0.0), Cx(h.size(), 0.0);
    s.C.each([&](int i, int j, double v) { held[i] = std::max(held[i], std::fabs(v) / or_one(c[j])); });
    s.C.add(s.x.data(), Cx.data());

    const double reach = 10 * std::sqrt(std::min(std::max(error, 1e-18), 1e-6));
    std::vector<signed char> kind(m);
    for (int i = 0; i < m; ++i) {
        const double scale = or_one(std::max(h[i], row_max[i] * z_hat)), room = std::max(s.h[i] - Cx[i], 0.0);
        const double row = own[i] ? g[i] : std::max(g[i], around * (given_g[i] > 0 ? std::min(scale, near_g[i]) : scale));
        const auto both = [](double size, double share) { return share > OWN ? std::max(share, size) : size; };
        const double slack = both(room / scale, room / or_one(row)), multiplier = both(s.y[i] / y_hat, y[i] * held[i]);
        const double size = std::max(room / scale, s.y[i] / y_hat);
        const double most = std::max(slack, multiplier), least = std::min(slack, multiplier);
        const bool weak = most <= WEAK_TOLERANCE || (most <= reach && least >= WEAK_RATIO * most);
        // Neither is clear nor as good as zero, or both are clear: what is left of them at a point to rounding tells.
        if (!refined && !weak && size <= LITTLE) return {};
        bool active = multiplier > slack;
        if (least > OWN) {
            const bool moves = room / scale > NUMBER * REFINED, pushes = s.y[i] / y_hat > NUMBER * REFINED;
            if (!refined || moves == pushes) return {};
            active = pushes;
        }
        kind[i] = weak ? WEAK : active ? ACTIVE : INACTIVE;
    }
    return kind;
}

}  // namespace

Telling tell_activity(const Data& d, const Sparse* plan, const Answer& answer, long index, bool refined) {
    const double* residuals = answer.residuals + 6 * index;
    const double error = std::max(std::max(residuals[0], residuals[1]), residuals[2]);
    const bool blunt = error > NEAR || *std::max_element(residuals + 3, residuals + 6) > told_by_row(d.n);
    std::fill_n(answer.kind + index * d.m, d.m, UNCLEAR);
    const Program whole(d, plan, answer, index);
    const Division parts(whole.Q, whole.C);
    std::vector<Program> programs;
    std::array<double, 2> least{HUGE_VAL, HUGE_VAL}, most{};
    for (std::size_t j = 0; j < parts.variables.size(); ++j) {
        programs.emplace_back(whole, parts.variables[j], parts.rows[j], parts.place);
        const std::array<double, 2> size = programs.back().equilibrate();
        for (int k = 0; k < 2; ++k) {
            if (size[k] > 0) least[k] = std::min(least[k], size[k]);
            most[k] = std::max(most[k], size[k]);
            if (most[k] > FAR * least[k]) return Telling::APART;
        }
    }
    if (blunt) return Telling::DOUBT;
    std::vector<signed char> kind(d.m);
    for (std::size_t j = 0; j < programs.size(); ++j) {
        std::vector<signed char> own = kinds(programs[j], error, refined);
        if ((int)own.size() < programs[j].m || !pin(programs[j].C, own)) return Telling::DOUBT;
        for (int i = 0; i < programs[j].m; ++i) kind[parts.rows[j][i]] = own[i];
    }
    std::copy(kind.begin(), kind.end(), answer.kind + index * d.m);
    return Telling::TOLD;
}

}  // namespace convex_layers
