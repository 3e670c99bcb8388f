// The typing rules, one axis at a time, against tables written out. A cell is the output placement, or "!" and the rule that is
// broken ("!" alone: some rule).
#include "support.hpp"

#include <string>
#include <string_view>

using namespace core_test;
using e = type_error;

namespace {

struct named {
  const char* name;
  placement_value value;
};
constexpr named placements[] = {{"R", R}, {"I", I}, {"S0", S0}, {"S1", S1}, {"S2", S2}, {"S3", S3}, {"Q0", Q0}, {"Q1", Q1}, {"Q2", Q2},
                                {"P", P}, {"M", M}, {"V", V}, {"T", T}};
constexpr placement_value placed(std::string_view name) {
  for (const named& p : placements)
    if (name == p.name) return p.value;
  throw "no such placement";
}
struct slug {
  const char* name;
  type_error error;
};
constexpr slug slugs[] = {{"!nonlinear", e::partial_nonlinear}, {"!product", e::partial_times_partial}, {"!replicate", e::partial_plus_replicate},
                          {"!invariant", e::invariant_mixed}, {"!contraction", e::contraction_mismatch}, {"!twice", e::axis_cuts_twice},
                          {"!layout", e::placement_mismatch}, {"!packed", e::packed_mismatch}, {"!row", e::row_cut},
                          {"!tokens", e::tokens_cut_over_experts}, {"!away", e::rows_with_experts}, {"!gradient", e::not_differentiable}, {"!reshape", e::reshape_cut}};

constexpr bool fits(std::string_view cell, const typed& t) {
  if (cell[0] != '!') return t.ok() && t.out.at[0] == placed(cell);
  if (t.ok() || t.atom != 0) return false;
  for (const slug& s : slugs)
    if (cell == s.name) return t.error == s.error;
  return cell == "!";
}

/// Rows by the first operand, columns by the second; returns how many cells differ.
template <std::size_t Rows, std::size_t Columns, class Rule>
constexpr int differing(const char* const (&rows)[Rows], const char* const (&columns)[Columns], const char* const (&cell)[Rows][Columns], Rule rule) {
  int wrong = 0;
  for (std::size_t r = 0; r < Rows; ++r)
    for (std::size_t c = 0; c < Columns; ++c) wrong += !fits(cell[r][c], rule(one(placed(rows[r])), one(placed(columns[c]))));
  return wrong;
}
template <std::size_t Columns, class Rule>
constexpr int differing(const char* const (&columns)[Columns], const char* const (&cell)[Columns], Rule rule) {
  int wrong = 0;
  for (std::size_t c = 0; c < Columns; ++c) wrong += !fits(cell[c], rule(one(placed(columns[c]))));
  return wrong;
}

// ---- products ------------------------------------------------------------------------------------------------------------

/// rows[slots, out] + a bias an expert [E, out]: only a pending bias joins a pending sum.
constexpr int wrong_expert_bias() {
  constexpr const char* rows[] = {"R", "I", "S1", "Q1", "P", "V"};
  constexpr const char* bias[] = {"R", "I", "S0", "S1", "Q1", "P", "M"};
  constexpr const char* cell[6][7] = {
      {"R", "!invariant", "!layout", "!contraction", "!contraction", "!replicate", "!gradient"},
      {"!invariant", "I", "!invariant", "!invariant", "!invariant", "!replicate", "!gradient"},
      {"!contraction", "!invariant", "!layout", "S1", "!packed", "!replicate", "!gradient"},
      {"!contraction", "!invariant", "!layout", "!packed", "Q1", "!replicate", "!gradient"},
      {"!replicate", "!replicate", "!replicate", "!replicate", "!replicate", "P", "!gradient"},
      {"V", "!invariant", "V", "!contraction", "!contraction", "!replicate", "!gradient"},
  };
  return differing(rows, bias, cell, [](const layout_value& x, const layout_value& b) { return typing::expert_bias(x, b); });
}
static_assert(wrong_expert_bias() == 0);

/// Experts' weights the other way round, W[E, in, out].
constexpr int wrong_transposed_experts() {
  constexpr const char* rows[] = {"R", "S1", "Q1", "P", "V"};
  constexpr const char* w[] = {"R", "S0", "S1", "S2", "Q2"};
  constexpr const char* cell[5][5] = {
      {"R", "!layout", "!contraction", "S1", "Q1"},
      {"!contraction", "!layout", "P", "!contraction", "!contraction"},
      {"!contraction", "!layout", "!packed", "!contraction", "!contraction"},
      {"P", "!layout", "!contraction", "!replicate", "!replicate"},
      {"V", "V", "!contraction", "!twice", "!twice"},
  };
  return differing(rows, w, cell, [](const layout_value& x, const layout_value& y) { return typing::grouped_linear(x, y, 2, 1); });
}
static_assert(wrong_transposed_experts() == 0);

/// Gate and up in turn: plain cuts keep the pairs.
constexpr int wrong_paired_gate() {
  constexpr const char* x[] = {"R", "I", "S0", "S1", "Q1", "P", "M", "V"};
  constexpr const char* cell[] = {"R", "I", "S0", "S1", "!packed", "!nonlinear", "!gradient", "V"};
  return differing(x, cell, [](const layout_value& v) { return typing::paired_gate(v, 2); });
}
static_assert(wrong_paired_gate() == 0);

/// A number a head beside q [B, S, heads, d].
constexpr int wrong_per_head() {
  constexpr const char* q[] = {"R", "I", "S0", "S2", "P"};
  constexpr const char* n[] = {"R", "I", "S0", "Q0", "P", "M"};
  constexpr const char* cell[5][6] = {
      {"R", "!invariant", "!layout", "!layout", "!nonlinear", "!gradient"},
      {"!invariant", "I", "!invariant", "!invariant", "!nonlinear", "!gradient"},
      {"S0", "!invariant", "!layout", "!layout", "!nonlinear", "!gradient"},
      {"!layout", "!invariant", "S2", "!layout", "!nonlinear", "!gradient"},
      {"!nonlinear", "!nonlinear", "!nonlinear", "!nonlinear", "!nonlinear", "!nonlinear"},
  };
  return differing(q, n, cell, [](const layout_value& x, const layout_value& y) { return typing::per_head(x, y); });
}
static_assert(wrong_per_head() == 0);

/// x[rows, in], W[out, in]. The sixteen of {R, S(rows), S(last), P} x {R, S(out), S(in), P} are in it, with the five legal ones.
constexpr int wrong_linear() {
  constexpr const char* x[] = {"R", "I", "S0", "S1", "Q1", "P", "M", "V", "T"};
  constexpr const char* w[] = {"R", "I", "S0", "S1", "Q0", "Q1", "P", "M", "V"};
  constexpr const char* cell[9][9] = {
      //            W: R           I             S(out)          S(in)           Q(out)          Q(in)           P               PMax         Ragged
      /* R       */ {"R",          "!invariant", "S1",           "!contraction", "Q1",           "!contraction", "P",            "!gradient", "!layout"},
      /* I       */ {"!invariant", "I",          "!invariant",   "!invariant",   "!invariant",   "!invariant",   "!invariant",   "!gradient", "!"},
      /* S(rows) */ {"S0",         "!invariant", "!twice",       "!contraction", "!twice",       "!contraction", "!",            "!gradient", "!"},
      /* S(last) */ {"!contraction", "!invariant", "!contraction", "P",          "!contraction", "!packed",      "!contraction", "!gradient", "!"},
      /* Q(last) */ {"!contraction", "!invariant", "!contraction", "!packed",    "!contraction", "P",            "!contraction", "!gradient", "!"},
      /* P       */ {"P",          "!invariant", "!",            "!contraction", "!",            "!contraction", "!product",     "!gradient", "!"},
      /* PMax    */ {"!gradient",  "!gradient",  "!gradient",    "!gradient",    "!gradient",    "!gradient",    "!gradient",    "!gradient", "!gradient"},
      /* Ragged  */ {"!layout",    "!invariant", "!twice",       "!contraction", "!twice",       "!contraction", "!",            "!gradient", "!"},
      /* token   */ {"T",          "!invariant", "!twice",       "!contraction", "!twice",       "!contraction", "!",            "!gradient", "!"},
  };
  return differing(x, w, cell, [](const layout_value& a, const layout_value& b) { return typing::linear(a, 2, b); });
}
/// With more leading dims only the place of the last dim changes.
constexpr int wrong_linear_of_three() {
  int wrong = 0;
  wrong += !fits("S2", typing::linear(one(R), 3, one(S0))) + !fits("P", typing::linear(one(S2), 3, one(S1))) + !fits("Q2", typing::linear(one(R), 3, one(Q0)));
  wrong += !fits("S1", typing::linear(one(S1), 3, one(R))) + !fits("!contraction", typing::linear(one(S1), 3, one(S1)));
  wrong += !fits("!packed", typing::linear(one(Q2), 3, one({k::strided_shard, 1, 3})));
  return wrong;
}

constexpr int wrong_bias() {
  constexpr const char* x[] = {"R", "I", "S0", "S1", "Q1", "P", "M", "V"};
  constexpr const char* b[] = {"R", "I", "S0", "Q0", "P", "M", "V"};
  constexpr const char* cell[8][7] = {
      //            b: R             I             S(0)            Q(0)            P             PMax         Ragged
      /* R       */ {"R",            "!invariant", "!contraction", "!contraction", "!",          "!",         "!"},
      /* I       */ {"!invariant",   "I",          "!invariant",   "!invariant",   "!invariant", "!",         "!"},
      /* S(rows) */ {"S0",           "!invariant", "!contraction", "!contraction", "!",          "!",         "!"},
      /* S(last) */ {"!contraction", "!invariant", "S1",           "!packed",      "!",          "!",         "!"},
      /* Q(last) */ {"!contraction", "!invariant", "!packed",      "Q1",           "!",          "!",         "!"},
      /* P       */ {"!replicate",   "!replicate", "!replicate",   "!replicate",   "!replicate", "!",         "!"},
      /* PMax    */ {"!gradient",    "!",          "!",            "!",            "!",          "!",         "!"},
      /* Ragged  */ {"!layout",      "!invariant", "!",            "!",            "!",          "!",         "!"},
  };
  return differing(x, b, cell, [](const layout_value& p, const layout_value& q) { return typing::bias_add(p, 2, q); }) +
         !fits("!packed", typing::bias_add(one(Q1), 2, one({k::strided_shard, 0, 3})));
}

/// ids[B, S], table[V, H].
constexpr int wrong_embedding() {
  constexpr const char* ids[] = {"R", "I", "S0", "S1", "P", "M", "V"};
  constexpr const char* table[] = {"R", "I", "S0", "S1", "Q1", "P", "M", "V"};
  constexpr const char* cell[7][8] = {
      //      table: R     I             S(V)      S(H)      Q(H)      P    PMax Ragged
      /* R      */ {"R",  "I",          "P",      "S2",     "Q2",     "!", "!", "!"},
      /* I      */ {"R",  "I",          "P",      "S2",     "Q2",     "!", "!", "!"},
      /* S(B)   */ {"S0", "!invariant", "!twice", "!twice", "!twice", "!", "!", "!"},
      /* S(S)   */ {"S1", "!invariant", "!twice", "!twice", "!twice", "!", "!", "!"},
      /* P      */ {"!",  "!",          "!",      "!",      "!",      "!", "!", "!"},
      /* PMax   */ {"!",  "!",          "!",      "!",      "!",      "!", "!", "!"},
      /* Ragged */ {"V",  "!",          "!",      "!",      "!",      "!", "!", "!"},
  };
  return differing(ids, table, cell, [](const layout_value& a, const layout_value& b) { return typing::embedding(a, 2, b); }) +
         !fits("!layout", typing::embedding(one(R), 2, one(Q0)));  // a rank looks ids up in one range
}

/// rows[slots, in], W[E, out, in].
constexpr int wrong_grouped() {
  constexpr const char* rows[] = {"R", "I", "S1", "Q1", "P", "M", "V", "T"};
  constexpr const char* w[] = {"R", "I", "S0", "S1", "Q1", "S2", "Q2", "P"};
  constexpr const char* cell[8][8] = {
      //            W: R             I             S(E)         S(out)          Q(out)          S(in)           Q(in)           P
      /* R       */ {"R",            "!invariant", "!layout",   "S1",           "Q1",           "!contraction", "!contraction", "P"},
      /* I       */ {"!invariant",   "I",          "!",         "!invariant",   "!invariant",   "!invariant",   "!invariant",   "!invariant"},
      /* S(last) */ {"!contraction", "!invariant", "!",         "!contraction", "!contraction", "P",            "!packed",      "!"},
      /* Q(last) */ {"!contraction", "!invariant", "!",         "!contraction", "!contraction", "!packed",      "P",            "!"},
      /* P       */ {"P",            "!invariant", "!",         "!",            "!",            "!contraction", "!contraction", "!product"},
      /* PMax    */ {"!gradient",    "!gradient",  "!",         "!gradient",    "!gradient",    "!gradient",    "!gradient",    "!gradient"},
      /* Ragged  */ {"V",            "!invariant", "V",         "!twice",       "!twice",       "!contraction", "!contraction", "!"},
      /* token   */ {"T",            "!invariant", "!tokens",   "!twice",       "!twice",       "!contraction", "!contraction", "!"},
  };
  return differing(rows, w, cell, [](const layout_value& a, const layout_value& b) { return typing::grouped_linear(a, b); });
}

// ---- element by element, row by row --------------------------------------------------------------------------------------

constexpr const char* eight[] = {"R", "I", "S0", "S1", "Q1", "P", "M", "V"};

constexpr int wrong_add() {
  constexpr const char* cell[8][8] = {
      //            R             I             S0            S1            Q1            P             PMax         Ragged
      /* R      */ {"R",          "!invariant", "!layout",    "!layout",    "!layout",    "!replicate", "!",         "!layout"},
      /* I      */ {"!invariant", "I",          "!invariant", "!invariant", "!invariant", "!replicate", "!",         "!invariant"},
      /* S0     */ {"!layout",    "!invariant", "S0",         "!layout",    "!layout",    "!replicate", "!",         "!layout"},
      /* S1     */ {"!layout",    "!invariant", "!layout",    "S1",         "!layout",    "!replicate", "!",         "!layout"},
      /* Q1     */ {"!layout",    "!invariant", "!layout",    "!layout",    "Q1",         "!replicate", "!",         "!layout"},
      /* P      */ {"!replicate", "!replicate", "!replicate", "!replicate", "!replicate", "P",          "!",         "!replicate"},
      /* PMax   */ {"!",          "!",          "!",          "!",          "!",          "!",          "!gradient", "!"},
      /* Ragged */ {"!layout",    "!invariant", "!layout",    "!layout",    "!layout",    "!replicate", "!",         "V"},
  };
  return differing(eight, eight, cell, [](const layout_value& a, const layout_value& b) { return typing::add(a, b); });
}
constexpr int wrong_scale() {
  constexpr const char* cell[8] = {"R", "I", "S0", "S1", "Q1", "P", "!gradient", "V"};
  return differing(eight, cell, [](const layout_value& x) { return typing::scale(x); });
}
constexpr int wrong_elementwise() {
  constexpr const char* unary[] = {"R", "I", "S0", "S1", "Q1", "!nonlinear", "!gradient", "V"};
  constexpr const char* cell[8][8] = {
      //            R             I             S0            S1            Q1            P             PMax         Ragged
      /* R      */ {"R",          "!invariant", "!layout",    "!layout",    "!layout",    "!nonlinear", "!",         "!layout"},
      /* I      */ {"!invariant", "I",          "!invariant", "!invariant", "!invariant", "!",          "!",         "!invariant"},
      /* S0     */ {"!layout",    "!invariant", "S0",         "!layout",    "!layout",    "!nonlinear", "!",         "!layout"},
      /* S1     */ {"!layout",    "!invariant", "!layout",    "S1",         "!layout",    "!nonlinear", "!",         "!layout"},
      /* Q1     */ {"!layout",    "!invariant", "!layout",    "!layout",    "Q1",         "!nonlinear", "!",         "!layout"},
      /* P      */ {"!nonlinear", "!",          "!nonlinear", "!nonlinear", "!nonlinear", "!product",   "!",         "!nonlinear"},
      /* PMax   */ {"!",          "!",          "!",          "!",          "!",          "!",          "!gradient", "!"},
      /* Ragged */ {"!layout",    "!invariant", "!layout",    "!layout",    "!layout",    "!nonlinear", "!",         "V"},
  };
  return differing(eight, unary, [](const layout_value& x) { return typing::elementwise(x); }) +
         differing(eight, eight, cell, [](const layout_value& a, const layout_value& b) { return typing::elementwise(a, b); });
}
constexpr int wrong_norm() {
  constexpr const char* w[] = {"R", "I", "S0", "Q0", "P", "M", "V"};
  constexpr const char* cell[8][7] = {
      //            w: R           I             S0      Q0      P    PMax Ragged
      /* R       */ {"R",          "!invariant", "!row", "!row", "!", "!", "!"},
      /* I       */ {"!invariant", "I",          "!row", "!row", "!", "!", "!"},
      /* S(rows) */ {"S0",         "!invariant", "!row", "!row", "!", "!", "!"},
      /* S(last) */ {"!row",       "!row",       "!row", "!row", "!", "!", "!"},
      /* Q(last) */ {"!row",       "!row",       "!row", "!row", "!", "!", "!"},
      /* P       */ {"!nonlinear", "!nonlinear", "!nonlinear", "!nonlinear", "!nonlinear", "!", "!"},
      /* PMax    */ {"!",          "!",          "!",    "!",    "!", "!", "!"},
      /* Ragged  */ {"!layout",    "!invariant", "!row", "!row", "!", "!", "!"},
  };
  return differing(eight, w, cell, [](const layout_value& x, const layout_value& v) { return typing::row_norm(x, 2, v); });
}
constexpr int wrong_rows() {
  int wrong = 0;
  constexpr const char* local[] = {"R", "I", "S0", "!row", "!row", "!nonlinear", "!gradient", "V"};
  wrong += differing(eight, local, [](const layout_value& x) { return typing::row_local(x, 2); });
  constexpr const char* gate[] = {"R", "I", "S0", "!packed", "S1", "!nonlinear", "!gradient", "V"};
  wrong += differing(eight, gate, [](const layout_value& x) { return typing::packed_gate(x, 2); });
  wrong += !fits("!packed", typing::packed_gate(one({k::strided_shard, 1, 3}), 2));
  // sigmoid(gate) * x, gate[..., 1]
  constexpr const char* gates[] = {"R", "I", "S0", "P", "M", "V"};
  constexpr const char* cell[8][6] = {
      //          gate: R            I             S0           P             PMax         Ragged
      /* R       */ {"R",          "!invariant", "!layout",    "!nonlinear", "!gradient", "!layout"},
      /* I       */ {"!invariant", "I",          "!invariant", "!nonlinear", "!gradient", "!invariant"},
      /* S(rows) */ {"!layout",    "!invariant", "S0",         "!nonlinear", "!gradient", "!layout"},
      /* S(last) */ {"S1",         "!invariant", "!layout",    "!nonlinear", "!gradient", "!layout"},
      /* Q(last) */ {"Q1",         "!invariant", "!layout",    "!nonlinear", "!gradient", "!layout"},
      /* P       */ {"P",          "!invariant", "!layout",    "!product",   "!gradient", "!layout"},
      /* PMax    */ {"!gradient",  "!gradient",  "!gradient",  "!gradient",  "!gradient", "!gradient"},
      /* Ragged  */ {"!layout",    "!invariant", "!layout",    "!nonlinear", "!gradient", "V"},
  };
  wrong += differing(eight, gates, cell, [](const layout_value& x, const layout_value& g) { return typing::row_gate(x, 2, g); });
  return wrong;
}

// ---- sums, maxima, reshapes, attention -----------------------------------------------------------------------------------

constexpr int wrong_reductions() {
  int wrong = 0;
  constexpr const char* x[] = {"R", "I", "S0", "S1", "S2", "Q0", "Q2", "P", "M", "V"};
  constexpr const char* kept_one[] = {"R", "I", "P", "P", "S0", "P", "Q0", "P", "!gradient", "!layout"};
  wrong += differing(x, kept_one, [](const layout_value& v) { return typing::sum_leading(v, 3, 1); });
  constexpr const char* kept_none[] = {"R", "I", "P", "P", "P", "P", "P", "P", "!gradient", "!layout"};
  wrong += differing(x, kept_none, [](const layout_value& v) { return typing::sum_leading(v, 3, 0); });
  constexpr const char* highest[] = {"R", "I", "S0", "S1", "M", "Q0", "M", "!nonlinear", "M", "V"};
  wrong += differing(x, highest, [](const layout_value& v) { return typing::max_last(v, 3); });
  constexpr const char* summed[] = {"R", "I", "S0", "S1", "P", "Q0", "!packed", "!nonlinear", "!gradient", "V"};
  wrong += differing(x, summed, [](const layout_value& v) { return typing::sum_last(v, 3); });
  return wrong;
}
constexpr int wrong_reshapes() {
  int wrong = 0;
  constexpr const char* x[] = {"R", "I", "S0", "S1", "S2", "Q2", "P", "V"};
  constexpr const char* split[] = {"R", "I", "S0", "S1", "S2", "!reshape", "P", "V"};
  wrong += differing(x, split, [](const layout_value& v) { return typing::split_last(v, 3); });
  constexpr const char* merged[] = {"R", "I", "S0", "S1", "!reshape", "!reshape", "P", "V"};
  wrong += differing(x, merged, [](const layout_value& v) { return typing::merge_last(v, 3); });
  return wrong;
}
/// x[B, heads, d].
constexpr int wrong_heads() {
  int wrong = 0;
  constexpr const char* x[] = {"R", "I", "S0", "S1", "S2", "Q1", "P", "M", "V"};
  constexpr const char* parts[] = {"R", "I", "S0", "S1", "!row", "Q1", "P", "!gradient", "V"};
  wrong += differing(x, parts, [](const layout_value& v) { return typing::split_columns(v, 3); });
  constexpr const char* joined[9][9] = {
      //            R             I             S(B)          S(heads)      S(d)          Q(heads)      P             PMax         Ragged
      /* R      */ {"R",          "!invariant", "!layout",    "!layout",    "!row",       "!layout",    "!replicate", "!gradient", "!layout"},
      /* I      */ {"!invariant", "I",          "!invariant", "!invariant", "!row",       "!invariant", "!invariant", "!gradient", "!invariant"},
      /* S(B)   */ {"!layout",    "!invariant", "S0",         "!layout",    "!row",       "!layout",    "!replicate", "!gradient", "!layout"},
      /* S(h)   */ {"!layout",    "!invariant", "!layout",    "S1",         "!row",       "!layout",    "!replicate", "!gradient", "!layout"},
      /* S(d)   */ {"!row",       "!row",       "!row",       "!row",       "!row",       "!row",       "!row",       "!gradient", "!row"},
      /* Q(h)   */ {"!layout",    "!invariant", "!layout",    "!layout",    "!row",       "Q1",         "!replicate", "!gradient", "!layout"},
      /* P      */ {"!replicate", "!invariant", "!replicate", "!replicate", "!row",       "!replicate", "P",          "!gradient", "!replicate"},
      /* PMax   */ {"!gradient",  "!gradient",  "!gradient",  "!gradient",  "!gradient",  "!gradient",  "!gradient",  "!gradient", "!gradient"},
      /* Ragged */ {"!layout",    "!invariant", "!layout",    "!layout",    "!row",       "!layout",    "!replicate", "!gradient", "V"},
  };
  wrong += differing(x, x, joined, [](const layout_value& a, const layout_value& b) { return typing::join_columns(a, b, 3); });
  constexpr const char* wanted[] = {"R", "I", "S0", "S1", "P"};
  constexpr const char* repeated[9][5] = {
      //            R             I             S(B)          S(heads)      P
      /* R      */ {"R",          "!invariant", "!layout",    "S1",         "!layout"},
      /* I      */ {"!invariant", "I",          "!invariant", "!invariant", "!invariant"},
      /* S(B)   */ {"!layout",    "!invariant", "S0",         "!layout",    "!layout"},
      /* S(h)   */ {"!layout",    "!invariant", "!layout",    "S1",         "!layout"},
      /* S(d)   */ {"!row",       "!row",       "!row",       "!row",       "!row"},
      /* Q(h)   */ {"!reshape",   "!reshape",   "!reshape",   "!reshape",   "!reshape"},
      /* P      */ {"!layout",    "!invariant", "!layout",    "!layout",    "P"},
      /* PMax   */ {"!gradient",  "!gradient",  "!gradient",  "!gradient",  "!gradient"},
      /* Ragged */ {"!layout",    "!invariant", "!layout",    "!layout",    "!layout"},
  };
  wrong += differing(x, wanted, repeated, [](const layout_value& a, const layout_value& b) { return typing::repeat_heads(a, 3, b); });
  return wrong;
}
constexpr int wrong_attention() {
  constexpr const char* q[] = {"R", "I", "S0", "S1", "S2", "S3", "P", "M"};
  constexpr const char* cell[8][8] = {
      //            R             I             S(B)          S(S)          S(heads)      S(d)          P             PMax
      /* R      */ {"R",          "!invariant", "!layout",    "!layout",    "!layout",    "!layout",    "!",          "!"},
      /* I      */ {"!invariant", "I",          "!invariant", "!invariant", "!invariant", "!invariant", "!",          "!"},
      /* S(B)   */ {"!layout",    "!invariant", "S0",         "!layout",    "!layout",    "!layout",    "!",          "!"},
      /* S(S)   */ {"!layout",    "!invariant", "!layout",    "!row",       "!layout",    "!layout",    "!",          "!"},
      /* S(h)   */ {"!layout",    "!invariant", "!layout",    "!layout",    "S2",         "!layout",    "!",          "!"},
      /* S(d)   */ {"!layout",    "!invariant", "!layout",    "!layout",    "!layout",    "!row",       "!",          "!"},
      /* P      */ {"!nonlinear", "!nonlinear", "!nonlinear", "!nonlinear", "!nonlinear", "!nonlinear", "!nonlinear", "!"},
      /* PMax   */ {"!",          "!",          "!",          "!",          "!",          "!",          "!",          "!"},
  };
  return differing(q, q, cell, [](const layout_value& a, const layout_value& b) { return typing::attention(a, b); });
}

// ---- experts -------------------------------------------------------------------------------------------------------------

/// Tokens x[B, S, H]; experts [E, out, in].
constexpr int wrong_dispatch() {
  constexpr const char* x[] = {"R", "I", "S0", "S1", "S2", "P", "M", "V"};
  constexpr const char* w[] = {"R", "S0", "Q1", "S2"};
  constexpr const char* cell[8][4] = {
      //     experts: whole         cut by expert  cut inside (Q)  cut inside
      /* R      */ {"R",          "V",           "R",            "R"},
      /* I      */ {"!invariant", "!invariant",  "!invariant",   "!invariant"},
      /* S(B)   */ {"T",          "T",           "T",            "T"},
      /* S(S)   */ {"T",          "T",           "T",            "T"},
      /* S(H)   */ {"!row",       "!row",        "!row",         "!row"},
      /* P      */ {"!nonlinear", "!nonlinear",  "!nonlinear",   "!nonlinear"},
      /* PMax   */ {"!gradient",  "!gradient",   "!gradient",    "!gradient"},
      /* Ragged */ {"V",          "!tokens",     "V",            "V"},
  };
  int wrong = differing(x, w, cell, [](const layout_value& a, const layout_value& b) { return typing::dispatch(a, 3, b); });
  wrong += !fits("I", typing::dispatch(one(I), 3, one(I)));
  wrong += !fits("!layout", typing::dispatch(one(R), 3, one(Q0)));  // a rank's experts are one range
  return wrong;
}
/// rows [slots, H] back to tokens [B, S, H] laid out as the scores were.
constexpr int wrong_combine() {
  constexpr const char* rows[] = {"R", "I", "S1", "Q1", "P", "M", "V", "T"};
  constexpr const char* tokens[] = {"R", "I", "S0", "S1", "V"};
  constexpr const char* cell[8][5] = {
      //      tokens: R        I    S(B)  S(S)  Ragged
      /* R       */ {"R",      "!", "!",  "!",  "!"},
      /* I       */ {"!",      "I", "!",  "!",  "!"},
      /* S(last) */ {"S2",     "!", "!",  "!",  "!"},
      /* Q(last) */ {"Q2",     "!", "!",  "!",  "!"},
      /* P       */ {"P",      "!", "!",  "!",  "!"},
      /* PMax    */ {"!",      "!", "!",  "!",  "!"},
      /* Ragged  */ {"P",      "!", "!away", "!away", "V"},
      /* token   */ {"!layout", "!", "S0", "S1", "!layout"},
  };
  return differing(rows, tokens, cell, [](const layout_value& a, const layout_value& b) { return typing::combine(a, b, 3); });
}

// ---- several axes --------------------------------------------------------------------------------------------------------

constexpr layout_value two(placement_value a, placement_value b, bool b_outside = false) {
  layout_builder out(2);
  if (b_outside) out.place(1, b), out.place(0, a);
  else out.place(0, a), out.place(1, b);
  return out.value;
}
constexpr e moving(const layout_value& x, const layout_value& y, bool gated = false) { return typing::redistribute(x, y, gated).error; }

constexpr int wrong_moves() {
  int wrong = 0;
  wrong += moving(two(S0, S1), two(R, R)) != e::none;
  wrong += moving(two(P, P), two(S0, I)) != e::none;
  wrong += moving(two(P, P), two(S0, S0)) != e::none;
  wrong += moving(two(S0, S0), two(R, R)) != e::none;
  wrong += moving(two(S0, S0), two(S0, R)) != e::none;                 // the inner one moves
  wrong += moving(two(S0, S0), two(R, S0)) != e::not_innermost;       // the outer one moves, the inner one stays
  wrong += moving(two(S0, S0, true), two(R, S0)) != e::none;          // here a is the inner one
  wrong += moving(two(R, S0), two(S0, S0)) != e::not_innermost;       // a would have to come outside of b
  wrong += moving(two(R, S0), two(S0, S0, true)) != e::none;
  wrong += moving(two(S0, S0), two(S0, S0, true)) != e::not_innermost;  // the same cuts in another order hold other rows
  wrong += moving(two(S0, S1), two(S1, S0)) != e::none;               // both swap at once
  wrong += moving(two(S0, R), two(Q0, R)) != e::no_single_collective;
  wrong += moving(two(Q0, R), two(S1, R)) != e::no_single_collective;
  wrong += moving(two(R, P), two(I, P)) != e::adjoint_only || moving(two(R, P), two(I, P), true) != e::none;
  wrong += moving(two(P, S0), two(P, P)) != e::adjoint_only || moving(two(P, S0), two(P, P), true) != e::none;
  wrong += moving(two(P, I), two(P, P)) != e::adjoint_only;
  wrong += moving(two(R, I), two(R, R)) != e::none;
  wrong += typing::redistribute(two(P, S0), two(P, Q0), false).atom != 1;
  return wrong;
}
/// Wherever a move is allowed, its adjoint is (as an adjoint).
template <std::size_t N>
constexpr int wrong_adjoints_among(const placement_value (&some)[N]) {
  int wrong = 0;
  for (const placement_value a : some)
    for (const placement_value b : some)
      for (const placement_value c : some)
        for (const placement_value d : some)
          for (int outside = 0; outside < 4; ++outside) {
            const layout_value x = two(a, b, (outside & 1) != 0), y = two(c, d, (outside & 2) != 0);
            const bool ok = moving(x, y, true) == e::none, back = moving(grad_of(y), grad_of(x), true) == e::none;
            wrong += ok != back;
          }
  return wrong;
}
constexpr int wrong_adjoint_moves() {
  constexpr placement_value some[] = {S0, P};
  return wrong_adjoints_among(some);
}
/// An op's output keeps the cut order of its operands, and reports the first axis at which a rule is broken.
constexpr int wrong_several_axes() {
  int wrong = 0;
  const typed y = typing::linear(two(S0, R), 2, two(R, S0));  // data x colwise
  wrong += !y.ok() || !(y.out.at[0] == S0) || !(y.out.at[1] == S1);
  const typed nested = typing::linear(two(S0, S0, true), 2, two(R, R));
  wrong += !nested.ok() || !(nested.out == two(S0, S0, true));
  const typed columns = typing::linear(two(R, R), 2, two(S0, S0, true));
  wrong += !columns.ok() || columns.out.cut[0] != 1 || columns.out.cut[1] != 0 || !(columns.out.at[0] == S1);
  const typed bad = typing::linear(two(R, P), 2, two(R, P));
  wrong += bad.ok() || bad.atom != 1 || bad.error != e::partial_times_partial;
  // sums of unlike cut orders are refused: equal placements, other rows
  wrong += typing::add(two(S0, S0), two(S0, S0, true)).ok() || !typing::add(two(S0, S0), two(S0, S0)).ok();
  wrong += typing::elementwise(two(S0, S0), two(S0, S0, true)).ok();
  wrong += typing::attention(two(S0, S0), two(S0, S0, true)).ok();
  // a contracted dim cut by two axes must be cut in one order by both operands
  wrong += typing::linear(two(S1, S1), 2, two(S1, S1, true)).ok() || !typing::linear(two(S1, S1), 2, two(S1, S1)).ok();
  wrong += typing::bias_add(two(S1, S1), 2, two(S0, S0, true)).ok() || !typing::bias_add(two(S1, S1), 2, two(S0, S0)).ok();
  return wrong;
}

}  // namespace

TEST_CASE("typing: linear, all pairs") {
  PLAIT_TWICE(wrong_linear);
  PLAIT_TWICE(wrong_linear_of_three);
}
TEST_CASE("typing: bias, embedding") {
  PLAIT_TWICE(wrong_bias);
  PLAIT_TWICE(wrong_embedding);
}
TEST_CASE("typing: linear over experts") { PLAIT_TWICE(wrong_grouped); }
TEST_CASE("typing: add and element by element") {
  PLAIT_TWICE(wrong_add);
  PLAIT_TWICE(wrong_scale);
  PLAIT_TWICE(wrong_elementwise);
}
TEST_CASE("typing: rows: norm, softmax, packed gate") {
  PLAIT_TWICE(wrong_norm);
  PLAIT_TWICE(wrong_rows);
}
TEST_CASE("typing: sums, maxima, reshapes") {
  PLAIT_TWICE(wrong_reductions);
  PLAIT_TWICE(wrong_reshapes);
  PLAIT_TWICE(wrong_heads);
}
TEST_CASE("typing: attention") { PLAIT_TWICE(wrong_attention); }
TEST_CASE("typing: dispatch and combine") {
  PLAIT_TWICE(wrong_dispatch);
  PLAIT_TWICE(wrong_combine);
}
TEST_CASE("typing: redistribution over several axes") {
  PLAIT_TWICE(wrong_moves);
  PLAIT_TWICE(wrong_adjoint_moves);
  const placement_value more[] = {R, I, S0, S1, Q0, Q1, P};
  CHECK(wrong_adjoints_among(more) == 0);
}
TEST_CASE("typing: several axes at once") { PLAIT_TWICE(wrong_several_axes); }
