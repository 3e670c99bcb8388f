#pragma once
// The three products in plain C++, element by element in float64: what the kernels are tested against.
#include <cstddef>
#include <cstdint>
#include <cstring>

#ifdef __CUDACC__
#define PLAIT_KERNELS_HD __host__ __device__
#else
#define PLAIT_KERNELS_HD
#endif

namespace plait::inline v0_1::kernels::reference {

// bfloat16 bits to a double, exactly.
PLAIT_KERNELS_HD inline double value_of(std::uint16_t bits) {
  const std::uint32_t wide = static_cast<std::uint32_t>(bits) << 16;
  float value;
  memcpy(&value, &wide, sizeof value);
  return static_cast<double>(value);
}

// Where weight (o, i) of an expert lies; in_out: the memory is [experts, in, out].
PLAIT_KERNELS_HD inline std::size_t weight_index(int expert, int o, int i, int out, int in, bool in_out) {
  const auto base = static_cast<std::size_t>(expert) * static_cast<std::size_t>(out) * static_cast<std::size_t>(in);
  return base + (in_out ? static_cast<std::size_t>(i) * out + o : static_cast<std::size_t>(o) * in + i);
}

// y[row, o] for a row owned by `expert`
PLAIT_KERNELS_HD inline double forward(const std::uint16_t* x, const std::uint16_t* w, int row, int o, int expert, int out, int in,
                                       bool in_out) {
  double sum = 0;
  for (int i = 0; i < in; ++i)
    sum += value_of(x[static_cast<std::size_t>(row) * in + i]) * value_of(w[weight_index(expert, o, i, out, in, in_out)]);
  return sum;
}

// dx[row, i]
PLAIT_KERNELS_HD inline double input_gradient(const std::uint16_t* dy, const std::uint16_t* w, int row, int i, int expert, int out,
                                              int in, bool in_out) {
  double sum = 0;
  for (int o = 0; o < out; ++o)
    sum += value_of(dy[static_cast<std::size_t>(row) * out + o]) * value_of(w[weight_index(expert, o, i, out, in, in_out)]);
  return sum;
}

// dw[expert](o, i) over the expert's rows [begin, end)
PLAIT_KERNELS_HD inline double weight_gradient(const std::uint16_t* dy, const std::uint16_t* x, int o, int i, int begin, int end,
                                               int out, int in) {
  double sum = 0;
  for (int row = begin; row < end; ++row)
    sum += value_of(dy[static_cast<std::size_t>(row) * out + o]) * value_of(x[static_cast<std::size_t>(row) * in + i]);
  return sum;
}

}  // namespace plait::inline v0_1::kernels::reference

#undef PLAIT_KERNELS_HD
