// What the files of the door share.
#pragma once
#include "door/arrays.hpp"
#include "simd/schedule.hpp"

namespace cl = convex_layers;

// The kernels of the widest instruction set here.
const cl::Kernels& chosen();

// Whether the user has asked to stop; Python has then an error to raise.
bool signalled();

// New arrays of one row for every problem; without that axis for a problem that has none.
struct Rows {
    bool axis;
    long batch;

    template <class S = double>
    py::array_t<S> of(std::initializer_list<long> core) const {
        std::vector<py::ssize_t> shape(core.begin(), core.end());
        if (axis) shape.insert(shape.begin(), batch);
        return py::array_t<S>(shape);
    }
};

void bind_constants(py::module_&);
void bind_cones(py::module_&);
void bind_program(py::module_&);
