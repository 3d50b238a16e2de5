// What comes through the door: numpy arrays and torch tensors, looked at without a copy where they are contiguous. A
// tensor is asked by its Python methods, so that nothing of torch is linked; that is faster than its way to numpy.
#pragma once
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <array>
#include <cstdint>
#include <string>

namespace py = pybind11;

class Array {
  public:
    enum class Kind { DOUBLE, BYTE, INTEGER, OTHER };

    // Called once, when the module is imported. Never destroyed: the interpreter may be gone by then.
    static void prepare() { names_ = new Names; }

    static Array of(py::handle given) { return py::isinstance<py::array>(given) ? of_numpy(given) : of_tensor(given); }

    long ndim() const { return ndim_; }
    long shape(long axis) const { return axis < MOST_AXES ? shape_[axis] : -1; }
    long count() const { return count_; }
    const void* data() const { return data_; }
    Kind kind() const { return kind_; }
    bool contiguous() const { return contiguous_; }
    std::string shape_text() const {
        std::string text = "(";
        for (long i = 0; i < ndim_; ++i) text += (i ? ", " : "") + (i < MOST_AXES ? std::to_string(shape_[i]) : "…");
        return text + ")";
    }

  private:
    static constexpr long MOST_AXES = 4;  // more are refused by their number where axes matter

    struct Names {
        py::object resolve_neg = intern("resolve_neg"), contiguous = intern("contiguous"), clone = intern("clone");
        py::object data_ptr = intern("data_ptr"), dtype = intern("dtype"), shape = intern("shape"), is_cpu = intern("is_cpu");
        py::object torch = py::module_::import("torch");
        py::object float64 = torch.attr("float64"), int8 = torch.attr("int8"), int64 = torch.attr("int64");
    };
    static inline const Names* names_ = nullptr;

    static Array of_numpy(py::handle given) {
        const auto a = py::reinterpret_borrow<py::array>(given);
        Array out;
        out.owner_ = a;
        out.data_ = a.data();
        out.contiguous_ = a.flags() & py::array::c_style;
        const auto type = a.dtype();
        out.kind_ = type.equal(py::dtype::of<double>())        ? Kind::DOUBLE
                    : type.equal(py::dtype::of<signed char>()) ? Kind::BYTE
                    : type.equal(py::dtype::of<long long>())   ? Kind::INTEGER
                                                               : Kind::OTHER;
        out.ndim_ = a.ndim();
        out.count_ = a.size();
        for (long i = 0; i < out.ndim_ && i < MOST_AXES; ++i) out.shape_[i] = a.shape(i);
        return out;
    }

    static Array of_tensor(py::handle given) {
        const Names& names = *names_;
        if (!py::hasattr(given, names.data_ptr))
            throw py::type_error("incompatible function arguments: expected an array or a tensor, found " +
                                 std::string(py::str(py::type::of(given))));
        if (!get(given, names.is_cpu).is(py::handle(Py_True))) throw py::value_error("tensors must be on the CPU");
        Array out;
        out.owner_ = call(call(given, names.resolve_neg), names.contiguous);
        out.contiguous_ = true;
        out.data_ = PyLong_AsVoidPtr(call(out.owner_, names.data_ptr).ptr());
        if (reinterpret_cast<std::uintptr_t>(out.data_) % alignof(double)) {
            out.owner_ = call(out.owner_, names.clone);
            out.data_ = PyLong_AsVoidPtr(call(out.owner_, names.data_ptr).ptr());
        }
        const py::object dtype = get(out.owner_, names.dtype), shape = get(out.owner_, names.shape);
        out.kind_ = dtype.is(names.float64) ? Kind::DOUBLE
                    : dtype.is(names.int8)  ? Kind::BYTE
                    : dtype.is(names.int64) ? Kind::INTEGER
                                            : Kind::OTHER;
        out.ndim_ = PyTuple_GET_SIZE(shape.ptr());
        for (long i = 0; i < out.ndim_; ++i) {
            const long length = PyLong_AsLong(PyTuple_GET_ITEM(shape.ptr(), i));
            out.count_ *= length;
            if (i < MOST_AXES) out.shape_[i] = length;
        }
        if (PyErr_Occurred()) throw py::error_already_set();
        return out;
    }

    static py::object intern(const char* name) {
        return py::reinterpret_steal<py::object>(PyUnicode_InternFromString(name));
    }
    static py::object checked(PyObject* result) {
        if (!result) throw py::error_already_set();
        return py::reinterpret_steal<py::object>(result);
    }
    static py::object call(py::handle object, py::handle method) {
        return checked(PyObject_CallMethodNoArgs(object.ptr(), method.ptr()));
    }
    static py::object get(py::handle object, py::handle name) {
        return checked(PyObject_GetAttr(object.ptr(), name.ptr()));
    }

    py::object owner_;
    const void* data_ = nullptr;
    Kind kind_ = Kind::OTHER;
    bool contiguous_ = false;
    long ndim_ = 0, count_ = 1;
    std::array<long, MOST_AXES> shape_{};
};

template <class S>
constexpr Array::Kind kind_of = Array::Kind::OTHER;
template <>
constexpr Array::Kind kind_of<double> = Array::Kind::DOUBLE;
template <>
constexpr Array::Kind kind_of<signed char> = Array::Kind::BYTE;
template <>
constexpr Array::Kind kind_of<long long> = Array::Kind::INTEGER;

// A pointer to contiguous, aligned numbers of type S, or an error that names the argument.
template <class S>
const S* checked(const Array& a, const char* name) {
    if (a.kind() != kind_of<S>) throw py::type_error(std::string(name) + ": wrong dtype for the native engine");
    if (!a.contiguous()) throw py::value_error(std::string(name) + " must be contiguous");
    if (reinterpret_cast<std::uintptr_t>(a.data()) % alignof(S))
        throw py::value_error(std::string(name) + " must be aligned");
    return static_cast<const S*>(a.data());
}

// The last axes must be `core`; one axis more is the batch, none means shared (a stride of zero). What must not be shared has the axis,
// unless there is only one problem.
template <class S = double>
const S* block(const Array& a, const char* name, long batch, std::initializer_list<long> core, long* stride) {
    const long axes = (long)core.size(), extra = a.ndim() - axes;
    bool good = extra == 0 || (extra == 1 && a.shape(0) == batch);
    long size = 1, axis = extra;
    for (const long expected : core) {
        good = good && axis >= 0 && a.shape(axis) == expected;
        ++axis;
        size *= expected;
    }
    if (!good || (!stride && extra != 1 && batch != 1))
        throw py::value_error(std::string(name) + " has shape " + a.shape_text() +
                              ", which does not fit the other arguments");
    if (stride) *stride = extra ? size : 0;
    return checked<S>(a, name);
}

namespace pybind11::detail {
template <>
struct type_caster<Array> {
    PYBIND11_TYPE_CASTER(Array, const_name("numpy.ndarray | torch.Tensor"));
    bool load(handle given, bool) {
        value = Array::of(given);
        return true;
    }
};
}  // namespace pybind11::detail
