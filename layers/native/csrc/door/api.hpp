// What crosses the border between Python and the engine: pointers, sizes and strides, checked in module.cpp.
#pragma once
#include "door/constants.hpp"

namespace convex_layers {

// Problem i starts at pointer + i · stride (in numbers); a stride of zero means shared over the batch.
struct Data {
    int n, m, p;
    long batch;
    const double *Q, *q, *G, *h, *A, *b;
    long Q_stride, q_stride, G_stride, h_stride, A_stride, b_stride;
};

// A point that is known beyond rounding, in the caller's units: what it leaves of Qz + q + Gᵀλ + Aᵀν, h − Gz and b − Az, and its numbers.
struct Precise {
    virtual void residual(double* stationarity, double* slack, double* lack) const = 0;
    virtual void add(double times, const double* dz, const double* dlam, const double* dnu) = 0;
    virtual void numbers(double* z, double* lam, double* nu) const = 0;
    virtual ~Precise() = default;
};

struct Options {
    double tol, rounding;  // rounding: asymmetry and negative curvature of Q that are none, relative to its largest entry
    int max_iterations, threads;
    const double *z, *lam, *nu, *s;  // an earlier solution, or null
    bool interior;                   // it is a point of an interior-point method near the solution: nothing else is tried
    bool as_it_is = false;           // it is the solution, which is measured
    Precise* precise = nullptr;      // it is that of a single problem to rounding: this point, with its active set, is to be it beyond that
};

struct Answer {
    double *z, *lam, *nu, *s, *objective, *residuals;  // (B, n), (B, m), (B, p), (B, m), (B,), (B, 6)
    signed char* kind;                                 // (B, m); -1 where the torch engine has to tell
    long long *status, *iterations;
};

// The derivative's linear system K x = r on the active rows, or Kᵀ x = r; x may be the array of r, which stays where nothing answers.
struct Linearised {
    const signed char* kind;
    const long long* status;
    const double *r_z, *r_lam, *r_nu;
    bool transpose;  // of account where a row is weakly active
    double *x_z, *x_lam, *x_nu, *error;  // error: backward error, infinite where the torch engine has to answer
};

// A batch of cone programs: minimise ½x'Px + q'x subject to Ax + s = b, s ∈ {0} × R₊ × second-order cones, in this order of rows. Values of
// P, both triangles, and of A on patterns; a stride of zero means shared over the batch.
struct ConeData {
    int n, m, zero, nonneg, socs, P_count, A_count;
    long batch;
    const int* soc;  // rows of each second-order cone, at least two
    const long long *P_row, *P_column, *A_row, *A_column;
    const double *P, *q, *A, *b;
    long P_stride, A_stride;
};

struct ConeAnswer {
    double *x, *y, *s;               // (B, n), (B, m), (B, m)
    long long *status, *iterations;  // OPTIMAL, SUSPECT where it is solved and a cone is small beside its terms, or LEFT
};

// (dx, dy) = 𝒮 (r₁, r₂) at the solution (y, s): layers/cone/adjoint.py.
struct ConeLinearised {
    const double *y, *s, *r1, *r2;
    double *dx, *dy, *error;  // error: backward error, infinite where torch has to answer
};

// out = scale · (u vᵀ + w xᵀ) per element.
struct Outer {
    long batch, rows, columns;
    const double *u, *v, *w, *x;
    double scale, *out;
};

// Polled between groups: true stops the work.
using Poll = bool (*)();

}  // namespace convex_layers
