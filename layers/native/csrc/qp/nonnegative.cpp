// B = W R by Gram and Schmidt, twice for each column, which leaves W orthonormal but for rounding.
#include "qp/nonnegative.hpp"

namespace convex_layers {

namespace {

constexpr double DEPENDENT = 1e-11;  // what is left of a column that depends on others, relative to it
constexpr double RIGHT_ANGLE = 1e-14;  // a cosine that is none

double product(const Vector& a, const Vector& b) {
    double sum = 0;
    for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
    return sum;
}
double length(const Vector& v) { return std::sqrt(product(v, v)); }
void add(double factor, const Vector& v, Vector& to) {
    for (std::size_t i = 0; i < v.size(); ++i) to[i] += factor * v[i];
}

}  // namespace

Nonnegative::Nonnegative(std::vector<Vector> columns, int free, Vector target)
    : rest(target), columns_(std::move(columns)), free_(free), target_(std::move(target)), taken_(columns_.size(), 0) {
    for (const Vector& column : columns_) norms_.push_back(length(column));
    for (int i = 0; i < free_; ++i) append(i);
    project();
    values = coefficients(target_);
}

bool Nonnegative::append(int i) {
    Vector v = columns_[i], r(basis_.size(), 0.0);
    for (int pass = 0; pass < 2; ++pass)
        for (std::size_t j = 0; j < basis_.size(); ++j) {
            const double common = product(basis_[j], v);
            r[j] += common;
            add(-common, basis_[j], v);
        }
    const double left = length(v);
    if (!(left > DEPENDENT * norms_[i])) return false;
    for (double& x : v) x /= left;
    r.push_back(left);
    basis_.push_back(std::move(v));
    triangle_.push_back(std::move(r));
    chosen.push_back(i);
    taken_[i] = 1;
    return true;
}

void Nonnegative::drop(int place) {
    const std::vector<int> behind(chosen.begin() + place + 1, chosen.end());
    const Vector own(values.begin() + place + 1, values.end());
    for (std::size_t i = place; i < chosen.size(); ++i) taken_[chosen[i]] = 0;
    chosen.resize(place);
    values.resize(place);
    basis_.resize(place);
    triangle_.resize(place);
    for (std::size_t i = 0; i < behind.size(); ++i)
        if (append(behind[i])) values.push_back(own[i]);
    project();
}

void Nonnegative::project() {
    rest = target_;
    for (int pass = 0; pass < 2; ++pass)
        for (const Vector& w : basis_) add(-product(w, rest), w, rest);
}

Vector Nonnegative::coefficients(const Vector& v) const {
    const int k = (int)basis_.size();
    Vector y(k);
    for (int i = 0; i < k; ++i) y[i] = product(basis_[i], v);
    for (int j = k; j-- > 0;) {
        y[j] /= triangle_[j][j];
        for (int i = 0; i < j; ++i) y[i] -= triangle_[j][i] * y[j];
    }
    return y;
}

Vector Nonnegative::against(const Vector& v) const {
    const int k = (int)basis_.size();
    Vector x(target_.size(), 0.0), y(k);
    for (int j = 0; j < k; ++j) {
        double sum = v[j];
        for (int i = 0; i < j; ++i) sum -= triangle_[j][i] * y[i];
        y[j] = sum / triangle_[j][j];
        add(y[j], basis_[j], x);
    }
    return x;
}

// The column that points most to what is left.
int Nonnegative::best(const std::vector<char>& barred) const {
    double most = RIGHT_ANGLE * length(rest);
    int found = -1;
    for (int i = free_; i < (int)columns_.size(); ++i) {
        if (taken_[i] || barred[i] || norms_[i] == 0) continue;
        const double towards = product(columns_[i], rest) / norms_[i];
        if (towards > most) most = towards, found = i;
    }
    return found;
}

void Nonnegative::solve(double reached) {
    std::vector<char> barred(columns_.size(), 0);
    reached *= length(target_);
    for (std::size_t steps = 3 * columns_.size() + 3; steps-- > 0 && length(rest) > reached;) {
        const int next = best(barred);
        if (next < 0) return;
        if (!append(next)) {
            barred[next] = 1;
            continue;
        }
        values.push_back(0);
        project();
        Vector goal = coefficients(target_);
        if (!(goal.back() > 0)) {  // by rounding
            drop((int)chosen.size() - 1);
            barred[next] = 1;
            continue;
        }
        std::fill(barred.begin(), barred.end(), (char)0);
        walk(std::move(goal));
    }
}

// To `goal`, as far as no unknown becomes negative; what becomes zero leaves, and the rest has another goal.
void Nonnegative::walk(Vector goal) {
    for (;;) {
        double share = 1;
        int first = -1;
        for (std::size_t i = 0; i < goal.size(); ++i)
            if (!is_free((int)i) && !(goal[i] > 0)) {
                const double own = values[i] > 0 ? values[i] / (values[i] - goal[i]) : 0;
                if (first < 0 || own < share) share = own, first = (int)i;
            }
        if (first < 0) break;
        for (std::size_t i = 0; i < goal.size(); ++i) values[i] += share * (goal[i] - values[i]);
        drop(first);
        goal = coefficients(target_);
    }
    values = std::move(goal);
}

}  // namespace convex_layers
