// Zeros that all problems of a batch share, and the factorisation plan that they allow: found once per pattern and kept.
#pragma once
#include "door/api.hpp"

namespace convex_layers {

// The nonzeros of a matrix by rows.
struct Pattern {
    int rows;
    const int *start, *column;  // row i: column[start[i]] … column[start[i + 1] - 1]
    int count() const { return start[rows]; }
};

// LDLᵀ of the quasi-definite matrix [Q Gᵀ Aᵀ; G −T 0; A 0 −δ] in an order that keeps L sparse. Unknowns are numbered by their place in
// that order; place k holds unknown order[k] of (x, λ, ν).
struct Sparse {
    int n, m, p;
    Pattern Q, G, A;                                // Q with all of its diagonal, symmetric
    const int *order, *place;                       // place[order[k]] = k
    const int *column_start, *row_of;               // L by columns, rows ascending
    const int *row_start, *column_of;               // L by rows, columns ascending
    const int *entry_start, *entry_place, *entry;   // above the diagonal of place k: place, and position in the values of (Q, G, A)
    const int *entry_row;                           // the row of G that an entry belongs to, or -1
    const int *diagonal;                            // position of the diagonal of Q
    bool separable;                                 // Q is diagonal and every row of G holds one variable
    double multiplications;                         // of one factorisation
};

}  // namespace convex_layers
