#pragma once
// FSDP is a pair of layouts, compute and storage: storage cuts one dim over Axis, inside whatever the style cut; the gather is
// S -> R of the redistribution table and the gradient's reduce-scatter its adjoint.
#include "plait/mesh/axis.hpp"

namespace plait::inline v0_1 {

/// The dim is the first that shares the parameter out evenly: 0, but for experts that are fewer than the ranks (plan/storage_dim.hpp).
inline constexpr int by_extents = 127;

template <class Axis, int Dim = by_extents>
struct fsdp {
  using axis = Axis;
  static constexpr int dim = Dim;
};
struct no_fsdp {
  using axis = axis_view<>;
  static constexpr int dim = 0;
};

enum class gathered : unsigned char {
  free_after_forward,  // gathered again for the backward
  keep,                // gathered once a step
};

/// What becomes of each unit's gathered weights between forward and backward.
struct fsdp_units {
  gathered embedding = gathered::free_after_forward;
  gathered layer = gathered::free_after_forward;
  gathered head = gathered::keep;  // final norm + head: needed again at once
};

}  // namespace plait::inline v0_1
