// Placements, their gradients, and the one redistribution table: every ordered pair against the table of the documentation,
// written out again here.
#include "support.hpp"

#include <cstring>
#include <string>

using namespace core_test;

namespace {

constexpr placement_value all[] = {R, I, S0, S1, Q0, P, M, V, T};
constexpr const char* const names[] = {"R", "I", "S(0)", "S(1)", "Q(0,2)", "P", "PMax", "Ragged", "RaggedByToken"};
constexpr int n = 9;

// ---- the table: rows are sources, columns targets, in the order of `all`; "!" marks what is legal only as an adjoint ----------
struct entry {
  move kind;
  bool gated = false;
};
constexpr entry none{move::none}, same{move::identity}, slice{move::slice}, pad_g{move::pad, true}, root{move::root}, gather{move::all_gather},
    reduce{move::all_reduce}, scatter{move::reduce_scatter}, swap{move::all_to_all}, maximum{move::all_reduce_max}, forget{move::forget},
    claim{move::claim}, send{move::exchange}, illegal{move::illegal}, same_g{move::identity, true}, root_g{move::root, true}, forget_g{move::forget, true};

constexpr entry table[n][n] = {
    //            R        I        S(0)     S(1)     Q(0,2)   P        PMax     Ragged    by token
    /* R      */ {none,    same_g,  slice,   slice,   slice,   root,    illegal, forget_g, illegal},
    /* I      */ {same,    none,    slice,   slice,   slice,   root_g,  illegal, illegal,  illegal},
    /* S(0)   */ {gather,  gather,  none,    swap,    illegal, pad_g,   illegal, forget,   illegal},
    /* S(1)   */ {gather,  gather,  swap,    none,    illegal, pad_g,   illegal, forget,   illegal},
    /* Q(0,2) */ {gather,  gather,  illegal, illegal, none,    pad_g,   illegal, illegal,  illegal},
    /* P      */ {reduce,  reduce,  scatter, scatter, scatter, none,    illegal, illegal,  illegal},
    /* PMax   */ {maximum, maximum, illegal, illegal, illegal, illegal, illegal, illegal,  illegal},
    /* Ragged */ {illegal, illegal, claim,   claim,   illegal, claim,   illegal, none,     send},
    /* token  */ {illegal, illegal, illegal, illegal, illegal, illegal, illegal, send,     none},
};
/// What the backward of each legal move is (PMax has none): the table's last columns.
constexpr move backward[n][n] = {
    /* R      */ {move::none, move::root, move::pad, move::pad, move::pad, move::root, move::illegal, move::claim, move::illegal},
    /* I      */ {move::all_reduce, move::none, move::all_gather, move::all_gather, move::all_gather, move::identity, move::illegal, move::illegal, move::illegal},
    /* S(0)   */ {move::reduce_scatter, move::slice, move::none, move::all_to_all, move::illegal, move::slice, move::illegal, move::claim, move::illegal},
    /* S(1)   */ {move::reduce_scatter, move::slice, move::all_to_all, move::none, move::illegal, move::slice, move::illegal, move::claim, move::illegal},
    /* Q(0,2) */ {move::reduce_scatter, move::slice, move::illegal, move::illegal, move::none, move::slice, move::illegal, move::illegal, move::illegal},
    /* P      */ {move::all_reduce, move::identity, move::all_gather, move::all_gather, move::all_gather, move::none, move::illegal, move::illegal, move::illegal},
    /* PMax   */ {move::illegal, move::illegal, move::illegal, move::illegal, move::illegal, move::illegal, move::illegal, move::illegal, move::illegal},
    /* Ragged */ {move::illegal, move::illegal, move::forget, move::forget, move::illegal, move::forget, move::illegal, move::none, move::exchange},
    /* token  */ {move::illegal, move::illegal, move::illegal, move::illegal, move::illegal, move::illegal, move::illegal, move::exchange, move::none},
};

constexpr int wrong_in_table() {
  int wrong = 0;
  for (int s = 0; s < n; ++s)
    for (int d = 0; d < n; ++d) {
      const redistribution_rule rule = redistribution(all[s], all[d]);
      wrong += rule.kind != table[s][d].kind || rule.adjoint_only != table[s][d].gated;
    }
  return wrong;
}

constexpr int wrong_in_grad_of() {
  int wrong = 0;
  constexpr placement_value grads[n] = {P, I, S0, S1, Q0, R, M, V, T};
  for (int i = 0; i < n; ++i) wrong += !(grad_of(all[i]) == grads[i]);
  for (int d = 0; d < 5; ++d)
    for (int s = 1; s <= 4; ++s)
      for (const k kind : {k::replicate, k::invariant, k::shard, k::strided_shard, k::partial, k::partial_max, k::ragged}) {
        const placement_value p{kind, static_cast<std::int8_t>(kind == k::shard || kind == k::strided_shard ? d : 0),
                                static_cast<std::int8_t>(kind == k::strided_shard ? s : 1)};
        wrong += !(grad_of(grad_of(p)) == p);
      }
  return wrong;
}

constexpr int wrong_adjoints() {
  int wrong = 0;
  for (int s = 0; s < n; ++s)
    for (int d = 0; d < n; ++d) {
      const redistribution_rule rule = redistribution(all[s], all[d]), back = adjoint(all[s], all[d]);
      if (all[s].kind == k::partial_max || rule.kind == move::illegal) continue;
      wrong += back.kind != backward[s][d];
      // The adjoint of the adjoint is the move itself.
      const redistribution_rule again = adjoint(grad_of(all[d]), grad_of(all[s]));
      wrong += again.kind != rule.kind || again.adjoint_only != rule.adjoint_only;
    }
  return wrong;
}

constexpr int wrong_in_sections() {
  constexpr placement_value Q3 = StridedShard<0, 3>::value;
  int wrong = 0;
  wrong += redistribution(Q0, Q3).kind != move::illegal;
  wrong += redistribution(Q0, Q1).kind != move::illegal;
  wrong += redistribution(Q0, S1).kind != move::illegal;
  wrong += redistribution(S1, Q0).kind != move::illegal;
  wrong += redistribution(S0, S2).kind != move::all_to_all;
  wrong += redistribution(Q3, R).kind != move::all_gather;
  wrong += redistribution(P, Q3).kind != move::reduce_scatter;
  return wrong;
}

constexpr int wrong_values() {
  int wrong = 0;
  wrong += !(S0.cuts() && S0.cuts(0) && !S0.cuts(1));
  wrong += !(Q1.cuts() && Q1.cuts(1) && Q1.sections == 2);
  wrong += R.cuts() || I.cuts() || P.cuts() || M.cuts() || V.cuts() || T.cuts() || V.by_token() || !T.by_token() || S1.by_token();
  wrong += !(Shard<-1>::value.resolved(3) == S2);
  wrong += !(Shard<-2>::value.resolved(2) == S0);
  wrong += !(StridedShard<-2, 2>::value.resolved(3) == Q1);
  wrong += !(S0.resolved(3) == S0) || !(P.resolved(3) == P);
  wrong += !(S0 != S1) || !(S0 != Q0) || !(R != I) || !(P != M);
  return wrong;
}

constexpr int wrong_communicates() {
  int wrong = 0;
  for (const move m : {move::all_gather, move::all_reduce, move::reduce_scatter, move::all_to_all, move::all_reduce_max, move::exchange}) wrong += !communicates(m);
  for (const move m : {move::none, move::identity, move::slice, move::pad, move::root, move::forget, move::claim, move::illegal})
    wrong += communicates(m);
  return wrong;
}

template <class Placement>
constexpr bool comes_back() {
  constexpr placement_value v = Placement::value;
  return std::is_same_v<typename detail::placement_of_scalars<static_cast<int>(v.kind), v.dim, v.sections>::type, Placement>;
}
constexpr int wrong_types() {
  int wrong = 0;
  wrong += !comes_back<Replicate>() + !comes_back<Invariant>() + !comes_back<Partial>() + !comes_back<PartialMax>() + !comes_back<Ragged>() +
           !comes_back<RaggedByToken>();
  wrong += !comes_back<Shard<0>>() + !comes_back<Shard<3>>() + !comes_back<StridedShard<1, 2>>() + !comes_back<StridedShard<0, 4>>();
  return wrong;
}

}  // namespace

TEST_CASE("placement: values, dims from the end, types and values are one") {
  PLAIT_TWICE(wrong_values);
  PLAIT_TWICE(wrong_types);
}

TEST_CASE("placement: grad_of is an involution that swaps Replicate and Partial") { PLAIT_TWICE(wrong_in_grad_of); }

TEST_CASE("redistribution: all 81 ordered pairs are the table's") {
  PLAIT_TWICE(wrong_in_table);
  int legal = 0;
  for (int s = 0; s < n; ++s)
    for (int d = 0; d < n; ++d) {
      INFO(std::string(names[s]), " -> ", std::string(names[d]));
      const redistribution_rule rule = redistribution(all[s], all[d]);
      CHECK(std::string(name_of(rule.kind)) == name_of(table[s][d].kind));
      CHECK(rule.adjoint_only == table[s][d].gated);
      legal += rule.kind != move::illegal;
    }
  CHECK(legal == 44);
}

TEST_CASE("redistribution: the adjoint is derived, and is the table's") {
  PLAIT_TWICE(wrong_adjoints);
  for (int s = 0; s < n; ++s)
    for (int d = 0; d < n; ++d) {
      if (all[s].kind == k::partial_max || table[s][d].kind == move::illegal) continue;
      INFO(std::string(names[s]), " -> ", std::string(names[d]));
      CHECK(std::string(name_of(adjoint(all[s], all[d]).kind)) == name_of(backward[s][d]));
    }
}

TEST_CASE("redistribution: packed sections never change in one step") { PLAIT_TWICE(wrong_in_sections); }

TEST_CASE("redistribution: which moves communicate, and their names") {
  PLAIT_TWICE(wrong_communicates);
  for (int m = 0; m <= static_cast<int>(move::illegal); ++m) CHECK(std::strcmp(name_of(static_cast<move>(m)), "?") != 0);
  for (int p = 0; p <= static_cast<int>(k::ragged); ++p) CHECK(std::strcmp(name_of(static_cast<k>(p)), "?") != 0);
}
