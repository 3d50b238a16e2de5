// One part of K = [H Cᵀ Wᵀ; C 0 0] at a degenerate solution: K⁻ and bases of its null spaces.
#pragma once
#include "qp/basis.hpp"
#include "qp/entries.hpp"
#include "qp/pivoted.hpp"

namespace convex_layers {

// Unknowns are (x, y, v) one after the other, right-hand sides (r₁, r₂) or, in reverse, (r₁, r₂, r₃).
struct Sizes {
    int n, k, w;
    int all() const { return n + k + w; }
};

class Element {
  public:
    // Of variables and rows of a larger H and C that nothing connects with the rest; `place` says where a variable stands among them.
    Element(const Entries& H, const Entries& C, const std::vector<int>& variables, const std::vector<int>& active, const std::vector<int>& weak,
            const std::vector<int>& place);

    Sizes size;
    bool trusted = true;
    Vector into, out;               // r in equilibrated units = into · r, x in the caller's = out · x
    std::vector<Direction> N, L;         // bases of the null spaces of K and Kᵀ, orthonormal, in the caller's units

    double work() const;
    void factorise();
    Vector apply(const Vector& r, bool transpose) const;                     // K⁻ r, K⁻ᵀ r, equilibrated
    Vector product(const Vector& x, bool transpose, bool magnitudes) const;  // K x, Kᵀ x or |K| |x|, equilibrated
    Vector spread(const Vector& terms) const;                                // the terms of connected rows, two steps away

  private:
    Entries H_, C_;                 // the weak rows stand below the active ones
    std::vector<int> fixed_, free_, among_;  // the row that fixes a variable, or −1; the variables that none does; their places there
    Vector pivot_;                  // the entry of such a row
    std::vector<int> rest_;         // rows of C that fix none
    std::vector<Pivoted> rows_, hessian_;
    const Pivoted& rows() const { return rows_[0]; }
    const Pivoted& hessian() const { return hessian_[0]; }
    void equilibrate();
    void reduce();
    void null_spaces();
    Vector turned(const Vector& x) const;                    // Qᵀ of what is free of x
    void place(Vector turned, Vector& x) const;              // the other way
    Vector slope(const Vector& r, const Vector& x, bool weak) const;  // r₁ − H x − Wᵀ v
    void multipliers(Vector g, Vector& x) const;             // Cᵀ y = g, which is in the range of Cᵀ
    void add(std::vector<Direction>& basis, Vector v, bool left, const Vector& units);
};

}  // namespace convex_layers
