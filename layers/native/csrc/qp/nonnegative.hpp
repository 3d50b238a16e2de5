// Least squares in which some unknowns may not be negative: minimise ‖Σ yᵢ bᵢ − t‖ (Lawson & Hanson 1974, chapter 23).
#pragma once
#include "qp/entries.hpp"

namespace convex_layers {

class Nonnegative {
  public:
    // The first `free` columns have unknowns of any sign; those that depend on others are left out.
    Nonnegative(std::vector<Vector> columns, int free, Vector target);

    // Until no column would bring the target nearer, or so small a part of it is left.
    void solve(double reached);
    // Leave a column out, with what depends on it.
    void drop(int place);

    std::vector<int> chosen;  // columns whose unknowns are not zero, independent of each other
    Vector values;            // their unknowns
    Vector rest;              // t − Σ yᵢ bᵢ, at right angles to them

    bool is_free(int place) const { return chosen[place] < free_; }
    const Vector& column(int place) const { return columns_[chosen[place]]; }
    // With B the chosen columns: B⁺ v, and (Bᵀ)⁺ v.
    Vector coefficients(const Vector& v) const;
    Vector against(const Vector& v) const;

  private:
    std::vector<Vector> columns_;
    int free_;
    Vector target_, norms_;
    std::vector<Vector> basis_, triangle_;  // B = W R, by columns
    std::vector<char> taken_;

    bool append(int column);
    void project();
    int best(const std::vector<char>& barred) const;
    void walk(Vector goal);
};

}  // namespace convex_layers
