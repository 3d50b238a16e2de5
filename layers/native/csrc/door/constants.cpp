// The door of constants.hpp.
#include "door/door.hpp"

void bind_constants(py::module_& module) {
    py::dict shared;
    shared["OPTIMAL"] = (int)cl::OPTIMAL;
    shared["INFEASIBLE"] = (int)cl::INFEASIBLE;
    shared["UNBOUNDED"] = (int)cl::UNBOUNDED;
    shared["LEFT"] = (int)cl::LEFT;
    shared["SUSPECT"] = (int)cl::SUSPECT;
    shared["UNCLEAR"] = (int)cl::UNCLEAR;
    shared["INACTIVE"] = (int)cl::INACTIVE;
    shared["ACTIVE"] = (int)cl::ACTIVE;
    shared["WEAK"] = (int)cl::WEAK;
    shared["WEAK_TOLERANCE"] = cl::WEAK_TOLERANCE;
    shared["WEAK_RATIO"] = cl::WEAK_RATIO;
    shared["LOOSE"] = cl::LOOSE;
    shared["ROWS"] = cl::ROWS;
    shared["ROWS_GAP"] = cl::ROWS_GAP;
    shared["ROWS_SHARP"] = cl::ROWS_SHARP;
    shared["CURVATURE"] = cl::CURVATURE;
    py::tuple parts((int)cl::PARTS);
    for (int part = 0; part < cl::PARTS; ++part) parts[part] = cl::PART_NAMES[part];
    shared["PARTS"] = parts;
    module.attr("CONSTANTS") = shared;
}
