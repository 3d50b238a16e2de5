#include "qp/program.hpp"

#include <algorithm>

namespace convex_layers {

SolvedFamily::SolvedFamily(std::shared_ptr<const Family> family, const Kernels& kernels, const Sources& sources, Options options, Poll poll)
    : family_(std::move(family)), batch_(sources.batch), batched_(sources.batched) {
    const Family& f = *family_;
    for (int part = 0; part < PARTS; ++part)
        if (part != PART_D || f.weighted) parts_[part] = evaluate(f.parts[part], sources, options.threads);
    condense(kernels, options.threads);
    solved_ = Solved(kernels, data(q_, parts_[PART_H], parts_[PART_B]), options, poll);
}

void SolvedFamily::variable(long which, double* out) const {
    const std::vector<Pick>& picks = family_->variables[which];
    const double* pieces[3] = {solved_.z.data(), solved_.nu.data(), solved_.lam.data()};
    for (long e = 0; e < batch_; ++e)
        for (const Pick& pick : picks) *out++ = pick.weight * pieces[pick.piece][e * family_->length(pick.piece) + pick.place];
}

SolvedFamily::Values SolvedFamily::evaluate(const AffinePart& part, const Sources& sources, int threads) const {
    Values out;
    const bool own = std::any_of(part.sources.begin(), part.sources.end(), [&](const auto& entries) { return sources.batched[entries.source]; });
    const long copies = own ? batch_ : 1, size = part.size();
    out.stride = own ? size : 0;
    out.data.resize(copies * size);
    spread(copies, threads, [&](long first, long last) {
        for (long e = first; e < last; ++e) {
            double* to = out.data.data() + e * size;
            std::copy(part.constant.begin(), part.constant.end(), to);
            for (const auto& entries : part.sources) {
                const double* theta = sources.values[entries.source] + (sources.batched[entries.source] ? e * family_->widths[entries.source] : 0);
                for (std::size_t k = 0; k < entries.weight.size(); ++k)
                    to[entries.i[k] * part.columns + entries.j[k]] += entries.weight[k] * theta[entries.column[k]];
            }
        }
    });
    return out;
}

// Q + MᵀDM and q − MᵀDf: the objective of the variables that stay.
void SolvedFamily::condense(const Kernels& kernels, int threads) {
    const Values &Q = parts_[PART_Q], &q = parts_[PART_Q_LINEAR], &M = parts_[PART_M], &f = parts_[PART_F], &D = parts_[PART_D];
    const long n = family_->n, w = family_->w;
    Q_ = Q;
    q_ = q;
    if (!w) return;
    const auto repeat = [&](Values& values, long size, bool own) {
        if (!own || values.stride) return;
        std::vector<double> all;
        all.reserve(batch_ * size);
        for (long e = 0; e < batch_; ++e) all.insert(all.end(), values.data.begin(), values.data.end());
        values.data.swap(all);
        values.stride = size;
    };
    repeat(Q_, n * n, M.stride || D.stride);
    repeat(q_, n, M.stride || D.stride || f.stride);
    const auto weights = [&](long e) { return family_->weighted ? D.of(e) : nullptr; };
    spread(Q_.stride ? batch_ : 1, threads, [&](long first, long last) {
        for (long e = first; e < last; ++e) kernels.weighted_gram(M.of(e), weights(e), (int)w, (int)n, Q_.data.data() + e * Q_.stride);
    });
    for (long e = 0; e < (q_.stride ? batch_ : 1); ++e)
        for (long i = 0; i < w; ++i) {
            const double *row = M.of(e) + i * n, by = f.of(e)[i] * (family_->weighted ? D.of(e)[i] : 1);
            for (long j = 0; j < n; ++j) q_.data[e * q_.stride + j] -= by * row[j];
        }
}

Data SolvedFamily::data(View q, View h, View b) const {
    const Family& f = *family_;
    const View Q = Q_, G = parts_[PART_G], A = parts_[PART_A];
    return {f.n, f.m, f.p, batch_, Q.first, q.first, G.first, h.first, A.first, b.first, Q.stride, q.stride, G.stride, h.stride, A.stride, b.stride};
}

namespace {

// The cotangent of an entry (i, j) of a part, scale · (uᵢ vⱼ + xᵢ yⱼ); of a vector, scale · uᵢ.
struct Cotangent {
    const double *u, *v, *x, *y;
    double scale;

    void collect(const AffinePart::Entries& entries, double* gradient) const {
        const std::size_t count = entries.weight.size();
        const int *i = entries.i.data(), *j = entries.j.data();
        if (v)
            for (std::size_t k = 0; k < count; ++k)
                gradient[entries.column[k]] += scale * entries.weight[k] * (u[i[k]] * v[j[k]] + x[i[k]] * y[j[k]]);
        else
            for (std::size_t k = 0; k < count; ++k) gradient[entries.column[k]] += scale * entries.weight[k] * u[i[k]];
    }
};

Cotangent column(const double* u, double scale) { return {u, nullptr, nullptr, nullptr, scale}; }

}  // namespace

double SolvedFamily::pull_back(const Kernels& kernels, const std::vector<const double*>& bars, const std::vector<double*>& gradients, int threads,
                               Poll poll) const {
    const Family& f = *family_;
    const long n = f.n, m = f.m, p = f.p, w = f.w;
    // K d = −(cotangents of z, λ, ν)
    std::vector<double> all(batch_ * (n + p + m + 1), 0.0);
    double* pieces[3] = {all.data(), all.data() + batch_ * n, all.data() + batch_ * (n + p)};
    for (std::size_t which = 0; which < f.variables.size(); ++which) {
        const double* bar = bars[which];
        if (!bar) continue;  // nobody has a cotangent for this variable
        for (long e = 0; e < batch_; ++e)
            for (const Pick& pick : f.variables[which]) pieces[pick.piece][e * f.length(pick.piece) + pick.place] -= pick.weight * *bar++;
    }
    double *dz = pieces[0], *dn = pieces[1], *dl = pieces[2], *error = all.data() + batch_ * (n + p + m);
    const Linearised call{solved_.kind.data(), solved_.status.data(), dz, dl, dn, true, dz, dl, dn, error};
    solve_linearised(kernels, data({dz, n}, {dl, m}, {dn, p}), solved_.structure.get(), call, threads, poll);

    bool apart = true;  // every gradient has rows of its own for every element
    for (std::size_t source = 0; source < gradients.size(); ++source) {
        if (!gradients[source]) continue;
        std::fill_n(gradients[source], (batched_[source] ? batch_ : 1) * f.widths[source], 0.0);
        apart = apart && batched_[source];
    }
    spread(batch_, apart ? threads : 1, [&](long first, long last) {
        // M d_z, Mz − f, their product, and both times D
        std::vector<double> rows(5 * w);
        double *moved = rows.data(), *off = moved + w, *both = off + w, *moved_D = both + w, *off_D = moved_D + w;
        for (long e = first; e < last; ++e) {
            const double *z = solved_.z.data() + e * n, *lam = solved_.lam.data() + e * m, *nu = solved_.nu.data() + e * p;
            const double *ez = dz + e * n, *el = dl + e * m, *en = dn + e * p;
            const double *M = parts_[PART_M].of(e), *goal = parts_[PART_F].of(e), *D = parts_[PART_D].of(e);
            for (long i = 0; i < w; ++i) {
                double along = 0, at = 0;
                for (long j = 0; j < n; ++j) {
                    along += M[i * n + j] * ez[j];
                    at += M[i * n + j] * z[j];
                }
                const double weight = f.weighted ? D[i] : 1;
                moved[i] = along;
                off[i] = at - goal[i];
                both[i] = moved[i] * off[i];
                moved_D[i] = weight * moved[i];
                off_D[i] = weight * off[i];
            }
            const Cotangent of[PARTS] = {{ez, z, z, ez, 0.5},   column(ez, 1),  {lam, ez, el, z, 1}, column(el, -1), {nu, ez, en, z, 1},
                                         column(en, -1), {moved_D, z, off_D, ez, 1}, column(moved_D, -1), column(both, 1)};
            for (int part = 0; part < PARTS; ++part)
                for (const auto& entries : f.parts[part].sources)
                    if (double* gradient = gradients[entries.source])
                        of[part].collect(entries, gradient + (batched_[entries.source] ? e * f.widths[entries.source] : 0));
        }
    });
    return largest(error, batch_);
}

}  // namespace convex_layers
