#include "simd/refined.hpp"

#include "qp/activity.hpp"
#include "qp/entries.hpp"
#include "qp/twice.hpp"

namespace convex_layers {

namespace {

// A point that is right to rounding has no larger residuals, in norm and row by row.
constexpr double SHARP = 1e-13;

using Twices = std::vector<Twice>;

// A point in twice the working precision, with the multipliers of the rows that it says are active.
class Point final : public Precise {
  public:
    Point(const Data& d, const Sparse* plan, const Answer& near) : d_(d), Q_(Entries::symmetric(d.Q, d.n, plan ? &plan->Q : nullptr)), C_(d.n), z_(near.z, near.z + d.n) {
        C_.append_rows(d.G, d.m, plan ? &plan->G : nullptr);
        C_.append_rows(d.A, d.p, plan ? &plan->A : nullptr);
        for (int i = 0; i < d.m; ++i) y_.emplace_back(near.lam[i] > near.s[i] ? near.lam[i] : 0.0);
        y_.insert(y_.end(), near.nu, near.nu + d.p);
    }

    void residual(double* stationarity, double* slack, double* lack) const override {
        Twices columns(d_.q, d_.q + d_.n), rows(d_.h, d_.h + d_.m);
        rows.insert(rows.end(), d_.b, d_.b + d_.p);
        Q_.each([&](int i, int j, double a) { columns[i].add(a, z_[j]); });
        C_.each([&](int i, int j, double a) {
            rows[i].add(-a, z_[j]);
            if (y_[i].high != 0) columns[j].add(a, y_[i]);
        });
        take(columns, 0, stationarity, d_.n);
        take(rows, 0, slack, d_.m);
        take(rows, d_.m, lack, d_.p);
    }

    void add(double times, const double* dz, const double* dlam, const double* dnu) override {
        for (int j = 0; j < d_.n; ++j) z_[j].add(times, dz[j]);
        for (int i = 0; i < d_.m; ++i) y_[i].add(times, dlam[i]);
        for (int i = 0; i < d_.p; ++i) y_[d_.m + i].add(times, dnu[i]);
    }

    void numbers(double* z, double* lam, double* nu) const override {
        take(z_, 0, z, d_.n);
        take(y_, 0, lam, d_.m);
        take(y_, d_.m, nu, d_.p);
    }

  private:
    static void take(const Twices& from, int first, double* to, int count) {
        for (int i = 0; i < count; ++i) to[i] = from[first + i].high;
    }

    const Data& d_;
    Entries Q_, C_;
    Twices z_, y_;
};

}  // namespace

bool refine(const Kernels& k, const Data& all, const Sparse* plan, const Options& options, const Answer& answers, long index) {
    const Data d = alone(all, index);
    const Answer answer = alone(all, answers, index);
    const Vector z(answer.z, answer.z + d.n), lam(answer.lam, answer.lam + d.m), nu(answer.nu, answer.nu + d.p), s(answer.s, answer.s + d.m);
    const Vector residuals(answer.residuals, answer.residuals + 6);
    const double objective = *answer.objective;
    const long long iterations = *answer.iterations;
    Point precise(d, plan, answer);
    Options there = options;
    there.z = z.data(), there.lam = lam.data(), there.nu = nu.data(), there.s = s.data(), there.precise = &precise;
    const Choice choice = k.choose(d, plan);
    Arena arena(choice.bytes);
    Watch watch;
    k.solve(choice, d, plan, there, answer, arena, 0, 1, watch);
    const double* left = answer.residuals;
    const bool sharp = *answer.status == OPTIMAL && std::max(std::max(left[0], left[1]), left[2]) <= SHARP && *std::max_element(left + 3, left + 6) <= told_by_row(d.n);
    *answer.iterations = iterations;
    *answer.status = OPTIMAL;
    std::fill_n(answer.kind, d.m, UNCLEAR);
    if (sharp) return true;
    std::copy(z.begin(), z.end(), answer.z);
    std::copy(lam.begin(), lam.end(), answer.lam);
    std::copy(nu.begin(), nu.end(), answer.nu);
    std::copy(s.begin(), s.end(), answer.s);
    std::copy(residuals.begin(), residuals.end(), answer.residuals);
    *answer.objective = objective;
    return false;
}

}  // namespace convex_layers
