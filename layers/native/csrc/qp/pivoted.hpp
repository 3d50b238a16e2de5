// QR with column pivots of a small dense matrix, which shows its rank: M Π = Q R. Rules as in layers/linalg/generalised.py.
#pragma once
#include <vector>

namespace convex_layers {

class Pivoted {
  public:
    // Row-major, rows × columns; pivots are measured against the first one, and at least against this size. Of columns that would do alike, the
    // one of smallest cost is taken, if there are costs.
    Pivoted(std::vector<double> matrix, int rows, int columns, double size, const std::vector<double>& costs = {});

    int rows, columns, rank = 0;
    bool doubtful = false;      // some pivot is neither clearly zero nor clearly not
    std::vector<int> order;     // Π: column order[i] of M stands at place i

    void times_Q(double* b) const;             // b = Q b, length rows
    void times_QT(double* b) const;            // b = Qᵀ b
    void solve(const double* b, double* x) const;             // R₁₁ x′ = b, x = Π (x′, 0): b of length rank, x of length columns
    void solve_transposed(const double* b, double* x) const;  // R₁₁ᵀ x = (Πᵀ b)₁: b of length columns, x of length rank
    // Column k of a basis of the null space of M, 0 ≤ k < columns − rank.
    void null_vector(int k, double* x) const;

  private:
    std::vector<double> a_, tau_;
    double* row(int i) { return a_.data() + (long)i * columns; }
    const double* row(int i) const { return a_.data() + (long)i * columns; }
    void reflect(int step, std::vector<double>& norms);
    void back(double* x) const;
};

}  // namespace convex_layers
