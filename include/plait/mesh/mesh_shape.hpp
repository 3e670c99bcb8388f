#pragma once
// A mesh with its run-time sizes, and where one rank stands in it.
#include <cstdint>

#include "plait/mesh/mesh.hpp"

namespace plait::inline v0_1 {

struct mesh_shape {
  int atoms = 0;
  int size[max_atoms] = {};

  constexpr int ranks() const {
    int n = 1;
    for (int a = 0; a < atoms; ++a) n *= size[a];
    return n;
  }
  constexpr void coordinates(int rank, int* out) const {
    for (int a = atoms - 1; a >= 0; --a) {
      out[a] = rank % size[a];
      rank /= size[a];
    }
  }
  constexpr int rank_of(const int* coordinate) const {
    int r = 0;
    for (int a = 0; a < atoms; ++a) r = r * size[a] + coordinate[a];
    return r;
  }
  /// The axes with more than one rank, as a mask.
  constexpr std::uint32_t all_axes() const {
    std::uint32_t mask = 0;
    for (int a = 0; a < atoms; ++a)
      if (size[a] > 1) mask |= 1u << a;
    return mask;
  }
  /// Ranks in the group that `mask` spans.
  constexpr int group_size(std::uint32_t mask) const {
    int n = 1;
    for (int a = 0; a < atoms; ++a)
      if (mask >> a & 1u) n *= size[a];
    return n;
  }
};

template <class Mesh>
inline constexpr bool shape_is_static = [] {
  for (const int s : Mesh::sizes)
    if (s == dyn) return false;
  return true;
}();

/// Static sizes of a mesh type as a shape; dyn ones must be filled in.
template <class Mesh>
constexpr mesh_shape shape_of() {
  mesh_shape s;
  s.atoms = Mesh::atoms;
  for (int a = 0; a < Mesh::atoms; ++a) s.size[a] = Mesh::sizes[a];
  return s;
}

}  // namespace plait::inline v0_1
