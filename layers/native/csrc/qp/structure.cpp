#include "qp/structure.hpp"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <list>
#include <memory>
#include <mutex>
#include <vector>

#include "qp/analysis.hpp"

namespace convex_layers {

namespace {

constexpr double MOST_FILLED = 0.35;  // denser matrices are not looked at further
constexpr int MOST_UNKNOWNS = 4000;
constexpr long CHUNK = 4096;  // entries that are looked at before it is asked whether there are too many
constexpr std::size_t KEPT = 32;            // plans
constexpr long KEPT_ENTRIES = 20'000'000;  // of L, in all of them

using Bits = std::vector<std::uint64_t>;

struct Rows {
    std::vector<int> start{0}, column;
    Pattern view(int rows) const { return {rows, start.data(), column.data()}; }
};

using Mask = std::vector<char>;

// Eight numbers, or eight marks, that are all zero; most of a sparse matrix is told so.
bool none(const double* v) {
    std::uint64_t bits[8], all = 0;
    std::memcpy(bits, v, sizeof bits);
    for (const auto one : bits) all |= one;
    return all << 1 == 0;  // whatever the signs
}
bool none(const char* marks) {
    std::uint64_t bits;
    std::memcpy(&bits, marks, sizeof bits);
    return bits == 0;
}

// Call visit(k) for 0 ≤ k < size but where eight at a time are zero.
template <class S, class Visit>
void visit_some(const S* values, long size, const Visit& visit) {
    long k = 0;
    for (; k + 8 <= size; k += 8)
        if (!none(values + k))
            for (long l = k; l < k + 8; ++l) visit(l);
    for (; k < size; ++k) visit(k);
}

// Where any problem of the batch has a nonzero; false where the first one has more than `most`.
bool scan(const double* M, long stride, long batch, long size, double most, Mask& mask) {
    const long problems = stride ? batch : 1;
    mask.assign(size, 0);
    for (long i = 0; i < problems; ++i) {
        const double* values = M + i * stride;
        long filled = 0;
        for (long k = 0; k < size && filled <= most; k += CHUNK)
            visit_some(values + k, std::min(CHUNK, size - k), [&](long l) {
                const char there = values[k + l] != 0;
                mask[k + l] |= there;
                filled += there;
            });
        if (i == 0 && filled > most) return false;
        most = (double)size;
    }
    return true;
}

// Marks on both sides of the diagonal, and on it.
void symmetrise(Mask& mask, long n) {
    for (long i = 0; i < n; ++i) {
        mask[i * n + i] = 1;
        visit_some(mask.data() + i * n, n, [&](long j) {
            if (mask[i * n + j]) mask[j * n + i] = 1;
        });
    }
}

Rows compress(const Mask& mask, int rows, int columns) {
    Rows out;
    for (int i = 0; i < rows; ++i) {
        const char* row = mask.data() + (long)i * columns;
        visit_some(row, columns, [&](long j) {
            if (row[j]) out.column.push_back((int)j);
        });
        out.start.push_back((int)out.column.size());
    }
    return out;
}

}  // namespace

class Structure {
  public:
    Structure(int n, int m, int p, Rows Q, Rows G, Rows A) : Q_(std::move(Q)), G_(std::move(G)), A_(std::move(A)) {
        sparse_ = Sparse{};
        sparse_.n = n;
        sparse_.m = m;
        sparse_.p = p;
        sparse_.Q = Q_.view(n);
        sparse_.G = G_.view(m);
        sparse_.A = A_.view(p);
        sparse_.separable = sparse_.Q.count() == n;
        for (int i = 0; i < m; ++i) sparse_.separable = sparse_.separable && G_.start[i + 1] - G_.start[i] <= 1;
        eliminate();
        enter();
    }
    const Sparse& sparse() const { return sparse_; }
    long entries() const { return (long)row_of_.size(); }
    bool same(const Rows& Q, const Rows& G, const Rows& A) const {
        return Q.column == Q_.column && Q.start == Q_.start && G.column == G_.column && G.start == G_.start && A.column == A_.column &&
               A.start == A_.start;
    }

  private:
    // Minimum degree on the graph of the matrix; the neighbours of an unknown when it is eliminated are the rows of its column of L.
    void eliminate() {
        const int N = sparse_.n + sparse_.m + sparse_.p, words = (N + 63) / 64;
        std::vector<Bits> graph(N, Bits(words, 0));
        const auto join = [&](int i, int j) {
            graph[i][j / 64] |= std::uint64_t{1} << (j % 64);
            graph[j][i / 64] |= std::uint64_t{1} << (i % 64);
        };
        const auto join_rows = [&](const Rows& M, int rows, int offset) {
            for (int i = 0; i < rows; ++i)
                for (int k = M.start[i]; k < M.start[i + 1]; ++k)
                    if (offset + i != M.column[k]) join(offset + i, M.column[k]);
        };
        join_rows(Q_, sparse_.n, 0);
        join_rows(G_, sparse_.m, sparse_.n);
        join_rows(A_, sparse_.p, sparse_.n + sparse_.m);
        std::vector<int> degree(N);
        const auto count = [&](int i) {
            int total = 0;
            for (const auto word : graph[i]) total += __builtin_popcountll(word);
            return total;
        };
        for (int i = 0; i < N; ++i) degree[i] = count(i);
        std::vector<std::vector<int>> below(N);
        order_.resize(N);
        place_.assign(N, -1);
        for (int k = 0; k < N; ++k) {
            int v = -1;
            for (int i = 0; i < N; ++i)
                if (place_[i] < 0 && (v < 0 || degree[i] < degree[v])) v = i;
            order_[k] = v;
            place_[v] = k;
            for (int i = 0; i < N; ++i)
                if (graph[v][i / 64] >> (i % 64) & 1) below[k].push_back(i);
            for (const int u : below[k]) {
                for (int w = 0; w < words; ++w) graph[u][w] |= graph[v][w];
                graph[u][u / 64] &= ~(std::uint64_t{1} << (u % 64));
                graph[u][v / 64] &= ~(std::uint64_t{1} << (v % 64));
                degree[u] = count(u);
            }
        }
        columns(below);
    }

    void columns(std::vector<std::vector<int>>& below) {
        const int N = (int)below.size();
        std::vector<std::vector<int>> left(N);
        column_start_.push_back(0);
        for (int k = 0; k < N; ++k) {
            for (int& u : below[k]) u = place_[u];
            std::sort(below[k].begin(), below[k].end());
            for (const int i : below[k]) {
                row_of_.push_back(i);
                left[i].push_back(k);
            }
            column_start_.push_back((int)row_of_.size());
            const double c = (double)below[k].size();
            sparse_.multiplications += 0.5 * c * (c + 3);
        }
        row_start_.push_back(0);
        for (const auto& row : left) {
            column_of_.insert(column_of_.end(), row.begin(), row.end());
            row_start_.push_back((int)column_of_.size());
        }
    }

    // Which value of (Q, G, A) stands where above the diagonal.
    void enter() {
        const int n = sparse_.n, m = sparse_.m, N = (int)order_.size();
        struct Entry {
            int at, value, row;
        };
        std::vector<std::vector<Entry>> above(N);
        diagonal_.assign(n, -1);
        const auto add = [&](int i, int j, int value, int row) {
            const int a = place_[i], b = place_[j];
            above[std::max(a, b)].push_back({std::min(a, b), value, row});
        };
        for (int i = 0; i < n; ++i)
            for (int k = Q_.start[i]; k < Q_.start[i + 1]; ++k) {
                const int j = Q_.column[k];
                if (i == j) diagonal_[i] = k;
                if (j < i) add(i, j, k, -1);
            }
        const int nQ = (int)Q_.column.size(), nG = (int)G_.column.size();
        for (int i = 0; i < m; ++i)
            for (int k = G_.start[i]; k < G_.start[i + 1]; ++k) add(n + i, G_.column[k], nQ + k, i);
        for (int i = 0; i < sparse_.p; ++i)
            for (int k = A_.start[i]; k < A_.start[i + 1]; ++k) add(n + m + i, A_.column[k], nQ + nG + k, -1);
        entry_start_.push_back(0);
        for (const auto& list : above) {
            for (const auto& e : list) {
                entry_place_.push_back(e.at);
                entry_.push_back(e.value);
                entry_row_.push_back(e.row);
            }
            entry_start_.push_back((int)entry_.size());
        }
        Sparse& s = sparse_;
        s.order = order_.data();
        s.place = place_.data();
        s.column_start = column_start_.data();
        s.row_of = row_of_.data();
        s.row_start = row_start_.data();
        s.column_of = column_of_.data();
        s.entry_start = entry_start_.data();
        s.entry_place = entry_place_.data();
        s.entry = entry_.data();
        s.entry_row = entry_row_.data();
        s.diagonal = diagonal_.data();
    }

    Rows Q_, G_, A_;
    Sparse sparse_;
    std::vector<int> order_, place_, column_start_, row_of_, row_start_, column_of_;
    std::vector<int> entry_start_, entry_place_, entry_, entry_row_, diagonal_;
};

std::shared_ptr<const Structure> analyse(const Data& d) {
    static std::mutex lock;
    static std::list<std::shared_ptr<const Structure>> kept;
    if ((long)d.n + d.m + d.p > MOST_UNKNOWNS || d.n < 8) return nullptr;
    Mask mask;
    const long n = d.n, of_Q = n * n, of_G = n * d.m, of_A = n * d.p;
    if (!scan(d.Q, d.Q_stride, d.batch, of_Q, MOST_FILLED * (double)of_Q, mask)) return nullptr;
    symmetrise(mask, n);
    Rows Q = compress(mask, d.n, d.n);
    scan(d.G, d.G_stride, d.batch, of_G, (double)of_G, mask);
    Rows G = compress(mask, d.m, d.n);
    scan(d.A, d.A_stride, d.batch, of_A, (double)of_A, mask);
    Rows A = compress(mask, d.p, d.n);
    const double cells = (double)d.n * (d.n + d.m + d.p);
    if (Q.column.size() + G.column.size() + A.column.size() > 0.6 * cells) return nullptr;
    const std::lock_guard<std::mutex> guard(lock);
    for (auto it = kept.begin(); it != kept.end(); ++it)
        if ((*it)->same(Q, G, A) && (*it)->sparse().n == d.n) {
            kept.splice(kept.begin(), kept, it);
            return kept.front();
        }
    kept.push_front(std::make_shared<const Structure>(d.n, d.m, d.p, std::move(Q), std::move(G), std::move(A)));
    long entries = 0;
    for (const auto& plan : kept) entries += plan->entries();
    for (; kept.size() > 1 && (kept.size() > KEPT || entries > KEPT_ENTRIES); kept.pop_back()) entries -= kept.back()->entries();
    return kept.front();
}

const Sparse& sparse_of(const Structure& structure) { return structure.sparse(); }

}  // namespace convex_layers
