// Which indices a rank holds, against lists of indices cut by hand: even, uneven, empty, strided, nested.
#include "support.hpp"

#include <vector>

#include "plait/mesh/mesh_shape.hpp"

using namespace core_test;

namespace {

using list = std::vector<std::int64_t>;

/// The definition, on an explicit list: sections of ceil(size / sections), pieces of ceil(section / parts).
list cut_list(const list& held, int sections, int part, int parts) {
  list out;
  const std::size_t size = held.size(), per_section = (size + static_cast<std::size_t>(sections) - 1) / static_cast<std::size_t>(sections);
  for (std::size_t s = 0; s < static_cast<std::size_t>(sections); ++s) {
    list section;
    for (std::size_t i = s * per_section; i < (s + 1) * per_section && i < size; ++i) section.push_back(held[i]);
    const std::size_t chunk = (section.size() + static_cast<std::size_t>(parts) - 1) / static_cast<std::size_t>(parts);
    for (std::size_t i = static_cast<std::size_t>(part) * chunk; i < (static_cast<std::size_t>(part) + 1) * chunk && i < section.size(); ++i)
      out.push_back(section[i]);
  }
  return out;
}
list expand(const index_set& s) {
  list out;
  for (int i = 0; i < s.count; ++i)
    for (std::int64_t x = s.range[i].begin; x < s.range[i].end; ++x) out.push_back(x);
  return out;
}
list whole(std::int64_t extent) {
  list out;
  for (std::int64_t i = 0; i < extent; ++i) out.push_back(i);
  return out;
}
placement_value cutting(int sections) {
  return sections == 1 ? S0 : placement_value{k::strided_shard, 0, static_cast<std::int8_t>(sections)};
}
bool ascending_and_merged(const index_set& s) {
  for (int i = 0; i < s.count; ++i) {
    if (s.range[i].size() <= 0) return false;
    if (i > 0 && s.range[i].begin <= s.range[i - 1].end) return false;
  }
  return true;
}

constexpr int wrong_small_cuts() {
  int wrong = 0;
  const index_set ten = index_set::whole(10);
  // 10 over 4: 3 3 3 1
  constexpr std::int64_t begin[4] = {0, 3, 6, 9}, end[4] = {3, 6, 9, 10};
  for (int r = 0; r < 4; ++r) {
    const index_set piece = cut(ten, S0, r, 4);
    wrong += piece.count != 1 || !(piece.range[0] == index_range{begin[r], end[r]});
  }
  // 5 over 4: 2 2 1 and nothing
  wrong += cut(index_set::whole(5), S0, 2, 4).size() != 1;
  wrong += cut(index_set::whole(5), S0, 3, 4).count != 0;
  wrong += cut(index_set::whole(0), S0, 0, 4).count != 0;
  wrong += index_set::whole(0).count != 0;
  // gate | up of 4 + 4 over 2: {0 1 4 5} and {2 3 6 7}
  const index_set first = cut(index_set::whole(8), Q0, 0, 2), second = cut(index_set::whole(8), Q0, 1, 2);
  wrong += first.count != 2 || !(first.range[0] == index_range{0, 2}) || !(first.range[1] == index_range{4, 6});
  wrong += second.count != 2 || !(second.range[0] == index_range{2, 4}) || !(second.range[1] == index_range{6, 8});
  // one rank holds it all, in one range
  wrong += cut(index_set::whole(8), Q0, 0, 1).count != 1;
  // slice across ranges
  const index_set across = first.slice(1, 3);
  wrong += across.count != 2 || !(across.range[0] == index_range{1, 2}) || !(across.range[1] == index_range{4, 5});
  wrong += first.slice(0, 4).size() != 4 || first.slice(2, 2).count != 0 || first.slice(3, 99).size() != 1;
  wrong += ceil_chunk(0, 4) != 0 || ceil_chunk(1, 4) != 1 || ceil_chunk(8, 4) != 2 || ceil_chunk(9, 4) != 3;
  return wrong;
}

/// The pieces of one dim are a partition, whatever the extent.
constexpr int wrong_partitions() {
  int wrong = 0;
  for (std::int64_t extent = 0; extent <= 13; ++extent)
    for (const placement_value p : {S0, Q0}) {
      for (int parts = 1; parts <= 5; ++parts) {
        bool seen[16] = {};
        for (int r = 0; r < parts; ++r) {
          const index_set piece = cut(index_set::whole(extent), p, r, parts);
          for (int i = 0; i < piece.count; ++i)
            for (std::int64_t x = piece.range[i].begin; x < piece.range[i].end; ++x) {
              wrong += seen[x];
              seen[x] = true;
            }
        }
        for (std::int64_t x = 0; x < extent; ++x) wrong += !seen[x];
      }
    }
  return wrong;
}

}  // namespace

TEST_CASE("shard range: small cuts written out") { PLAIT_TWICE(wrong_small_cuts); }

TEST_CASE("shard range: pieces are a partition") { PLAIT_TWICE(wrong_partitions); }

TEST_CASE("shard range: one cut and nested cuts against lists of indices") {
  int cases = 0, wrong = 0;
  for (std::int64_t extent = 0; extent <= 33; ++extent)
    for (int sections = 1; sections <= 4; ++sections)
      for (int parts = 1; parts <= 6; ++parts)
        for (int r = 0; r < parts; ++r) {
          const index_set piece = cut(index_set::whole(extent), cutting(sections), r, parts);
          const list reference = cut_list(whole(extent), sections, r, parts);
          wrong += expand(piece) != reference || !ascending_and_merged(piece);
          ++cases;
          for (int inner_sections = 1; inner_sections <= 2; ++inner_sections)
            for (int inner = 1; inner <= 3; ++inner)
              for (int q = 0; q < inner; ++q) {
                const index_set nested = cut(piece, cutting(inner_sections), q, inner);
                wrong += expand(nested) != cut_list(reference, inner_sections, q, inner) || !ascending_and_merged(nested);
                ++cases;
              }
        }
  CHECK(wrong == 0);
  CHECK(cases == 34 * 4 * 21 * (1 + 2 * 6));
}

TEST_CASE("shard range: what a rank of a mesh holds, outermost cut first, by dim") {
  // Three axes; every assignment of {Replicate, Shard<0>, Shard<1>, StridedShard<0,2>} to them, in every order of cutting.
  const int order[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
  const placement_value choice[4] = {R, S0, S1, Q0};
  const std::int64_t extent[2] = {10, 7};
  int wrong = 0, cases = 0;
  for (const mesh_shape& mesh : {mesh_shape{3, {2, 3, 2}}, mesh_shape{3, {1, 4, 3}}})
    for (const auto& cutting_order : order)
      for (int code = 0; code < 64; ++code) {
        const placement_value at[3] = {choice[code & 3], choice[code >> 2 & 3], choice[code >> 4 & 3]};
        layout_builder b(3);
        for (const int a : cutting_order) b.place(a, at[a]);
        for (int rank = 0; rank < mesh.ranks(); ++rank) {
          int coordinate[max_atoms] = {};
          mesh.coordinates(rank, coordinate);
          for (int d = 0; d < 2; ++d) {
            list reference = whole(extent[d]);
            for (const int a : cutting_order)
              if (at[a].cuts(d)) reference = cut_list(reference, at[a].sections, coordinate[a], mesh.size[a]);
            wrong += expand(held_indices(b.value, d, extent[d], mesh.size, coordinate)) != reference;
            ++cases;
          }
        }
      }
  CHECK(wrong == 0);
  CHECK(cases == 2 * 6 * 64 * 12 * 2);
}
