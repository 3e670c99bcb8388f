#pragma once
// Which tile for which shape: constexpr tables, first match wins. Measured on an H100 (docs/performance.md).
#include <cstdint>

#include "plait/kernels/grouped_gemm.hpp"

namespace plait::inline v0_1::kernels::grouped_gemm {

// A rule applies where every condition that is not 0 holds.
struct tile_rule {
  int min_depth;      // contraction at least
  int max_mean_rows;  // rows an expert, on average, at most
  int min_waste_192;  // per cent of columns added by rounding up to 192, at least
  tile_choice tile;
};

// B's memory rows run along the contraction: forward with [out, in] weights, input gradient with [in, out].
inline constexpr tile_rule rows_k_rules[] = {
    {0, 64, 0, tile_choice::ping_pong_128},      // bound by memory: more tiles, more evenly
    {8192, 200, 1, tile_choice::ping_pong_128},  // few, long tiles: smaller ones spread better
    {8192, 0, 1, tile_choice::cooperative_256},  // deep: operand traffic decides
    {0, 0, 7, tile_choice::cooperative_256},
    {0, 0, 0, tile_choice::ping_pong_192},
};

// B's memory rows run along the columns: input gradient with [out, in] weights, forward with [in, out].
inline constexpr tile_rule rows_n_rules[] = {
    {0, 64, 0, tile_choice::ping_pong_128},
    {6144, 0, 1, tile_choice::cooperative_256},
    {0, 0, 7, tile_choice::cooperative_256},
    {0, 0, 0, tile_choice::ping_pong_192},
};

// Weight gradients; the contraction is as deep as the expert has rows.
inline constexpr tile_rule depth_rules[] = {
    {0, 1400, 0, tile_choice::ping_pong_192_update},
    {0, 0, 0, tile_choice::ping_pong_192_add},
};

template <int Count>
constexpr tile_choice select_tile(const tile_rule (&rules)[Count], std::int64_t mean_rows, int columns, int depth) {
  const std::int64_t padded = (static_cast<std::int64_t>(columns) + 191) / 192 * 192;
  for (const auto& rule : rules) {
    if (depth >= rule.min_depth && (rule.max_mean_rows == 0 || mean_rows <= rule.max_mean_rows) &&
        (padded - columns) * 100 >= static_cast<std::int64_t>(rule.min_waste_192) * columns)
      return rule.tile;
  }
  return tile_choice::ping_pong_192;
}

static_assert(select_tile(rows_k_rules, 2048, 4096, 14336) == tile_choice::cooperative_256);
static_assert(select_tile(rows_k_rules, 1024, 2880, 2880) == tile_choice::ping_pong_192);
static_assert(select_tile(rows_n_rules, 2048, 1024, 2048) == tile_choice::cooperative_256);

}  // namespace plait::inline v0_1::kernels::grouped_gemm
