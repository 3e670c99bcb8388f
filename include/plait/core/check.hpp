#pragma once
// One struct per rule that a user can break. Its name is a sentence, its template arguments are the context, its assertion the
// message. Slugs are stable; each has a page in docs/errors/ and a test in tests/compile_fail/.
namespace plait::inline v0_1::check {

template <bool Ok, class... Context>
struct every_axis_is_in_the_mesh {
  static_assert(Ok, "plait[axis-not-in-mesh]: an axis is named here that the plan's mesh does not have; "
                    "add it to the mesh or name one of the mesh's axes");
  static constexpr bool ok = Ok;
};
template <bool Ok, class... Context>
struct a_layout_is_a_mesh_and_entries {
  static_assert(Ok, "plait[not-a-layout]: a layout is layout<mesh, on<axis, placement>...>, with an entry for each axis that is not "
                    "Replicate; something else is given here, where a layout, its mesh or an entry belongs");
  static constexpr bool ok = Ok;
};
template <bool Ok, class... Context>
struct an_axis_is_used_once {
  static_assert(Ok, "plait[axis-cuts-twice]: this axis would cut two dims of one tensor; name each axis once, or gather first");
  static constexpr bool ok = Ok;
};
template <bool Ok, class... Context>
struct a_named_dim_is_there {
  static_assert(Ok, "plait[no-such-dim]: a dim is named here that the tensor does not have; dims count from 0, and from the end "
                    "(negative) only in styles and in rows of a parameter table");
  static constexpr bool ok = Ok;
};
template <bool Ok, class... Context>
struct axes_share_no_ranks {
  static_assert(Ok, "plait[axes-overlap]: these axes share ranks; one layout may use only one of them");
  static constexpr bool ok = Ok;
};
template <bool Ok, class... Context>
struct a_pending_sum_cannot_pass_a_nonlinear_op {
  static_assert(Ok, "plait[partial-nonlinear]: the input still holds a pending sum on this axis; "
                    "all_reduce or reduce_scatter it before a non-linear op");
  static constexpr bool ok = Ok;
};
template <bool Ok, class... Context>
struct two_pending_sums_cannot_be_multiplied {
  static_assert(Ok, "plait[partial-times-partial]: two pending sums cannot be multiplied (a product of sums is not a sum of "
                    "products); reduce one of them first");
  static constexpr bool ok = Ok;
};
template <bool Ok, class... Context>
struct a_replicated_value_cannot_join_a_pending_sum {
  static_assert(Ok, "plait[partial-plus-replicate]: adding a replicated value to a pending sum counts it once per rank; "
                    "reduce first, or convert it to Partial");
  static constexpr bool ok = Ok;
};
template <bool Ok, class... Context>
struct an_invariant_value_meets_only_invariant_ones {
  static_assert(Ok, "plait[invariant-mixed]: an Invariant value meets one that is not; redistribute it to Replicate, "
                    "which all-reduces its gradient");
  static constexpr bool ok = Ok;
};
template <bool Ok, class... Context>
struct the_contracted_dim_is_cut_alike {
  static_assert(Ok, "plait[contraction-mismatch]: the contracted dim is cut on one operand only; cut both, or gather");
  static constexpr bool ok = Ok;
};
template <bool Ok, class... Context>
struct only_the_innermost_cut_moves {
  static_assert(Ok, "plait[not-innermost]: this axis is not the innermost cut of that dim; redistribute the inner axis first");
  static constexpr bool ok = Ok;
};
template <bool Ok, class... Context>
struct one_collective_joins_these_placements {
  static_assert(Ok, "plait[no-single-collective]: no single collective joins these placements; go through Replicate");
  static constexpr bool ok = Ok;
};
template <bool Ok, class... Context>
struct this_move_exists_only_as_an_adjoint {
  static_assert(Ok, "plait[adjoint-only]: this move exists only as the backward of another; "
                    "name the placement you mean, or pass plait::adjoint_only if you write a pullback");
  static constexpr bool ok = Ok;
};
template <bool Ok, class... Context>
struct the_layout_is_the_one_wanted {
  static_assert(Ok, "plait[placement-mismatch]: the value's layout is not the one wanted here; call redistribute to say which "
                    "collective you mean");
  static constexpr bool ok = Ok;
};
template <bool Ok, class... Context>
struct packed_dims_are_cut_section_by_section {
  static_assert(Ok, "plait[packed-mismatch]: gate and up are packed in this dim; it must be StridedShard<d, 2>, not Shard<d>");
  static constexpr bool ok = Ok;
};
template <bool Ok, class... Context>
struct the_axes_divide_the_units {
  static_assert(Ok, "plait[indivisible]: the dim holds fewer or more indivisible units than the axes can cut evenly; "
                    "choose axis sizes that divide the number of units (heads, experts), or mark the row uneven");
  static constexpr bool ok = Ok;
};
template <bool Ok, class... Context>
struct a_name_has_one_layer_number {
  static_assert(Ok, "plait[layer-number]: a name has one segment for the layer's number, * in a table's rows; here another segment is a "
                    "number or *, which rules could not tell from it. Spell that segment as a word");
  static constexpr bool ok = Ok;
};
template <bool Ok, class... Context>
struct a_plan_is_made_of_its_parts {
  static_assert(Ok, "plait[plan-part]: something else stands where a part of a plan belongs. A plan is plan<mesh, parameters<rule...>, "
                    "activations<activation...>, everywhere<fsdp<axis>>, precision>, in this order; amend<plan, ...> takes parameters, "
                    "activations and without; covers<plan, model> names the plan first");
  static constexpr bool ok = Ok;
};
template <bool Ok, class... Context>
struct an_activation_rule_states_a_layout {
  static_assert(Ok, "plait[activation-entry]: an activation rule is its pattern, then at most one only<kind>, then on<axis, placement> for "
                    "each axis that is not Replicate; something else stands in this one. Styles are for parameters");
  static constexpr bool ok = Ok;
};
template <bool Ok, class... Context>
struct a_table_has_a_name_once {
  static_assert(Ok, "plait[row-again]: an earlier row of this table has the same name; delete one of them, or say that they are in layers "
                    "of different kinds");
  static constexpr bool ok = Ok;
};
template <bool Ok, class... Context>
struct a_point_with_one_layout_has_one_rule {
  static_assert(Ok, "plait[one-for-all-layers]: this activation rule is for one layer, but the point has one layout in all of them (the "
                    "residual stream goes through the layers as it is); write * for the layer");
  static constexpr bool ok = Ok;
};
template <bool Ok, class... Context>
struct a_tie_joins_two_rows_of_one_shape {
  static_assert(Ok, "plait[tied-rows]: a tie makes two rows of the parameter table one parameter; it must name two that are there, with the "
                    "same extents");
  static constexpr bool ok = Ok;
};
template <bool Ok, class... Context>
struct a_decoder_reads_every_row {
  static_assert(Ok, "plait[unread-row]: the decoder does not read this row of the parameter table, which would be loaded and trained and "
                    "change nothing; correct its name or extents, add the row that it goes with, or write the part that reads it");
  static constexpr bool ok = Ok;
};
template <bool Ok, class... Context>
struct a_decoder_has_the_rows_it_needs {
  static_assert(Ok, "plait[missing-row]: the parameter table lacks a row that the decoder cannot do without (its number in decoder_rows, "
                    "model/decoder_rows.hpp); add it");
  static constexpr bool ok = Ok;
};
template <bool Ok, class... Context>
struct a_decoder_asks_about_its_points {
  static_assert(Ok, "plait[decoder-points]: the decoder asks plans about the points in decoder_points (model/decoder_table.hpp) and no "
                    "others; list those that the model has: 0, 1, 4, and 2 or 3 or both");
  static constexpr bool ok = Ok;
};
template <bool Ok, class... Context>
struct gate_and_up_are_told_apart {
  static_assert(Ok, "plait[gate-and-up]: the row of the experts' gate_up_proj must say how gate and up lie in its width: packed(dim, 2), one "
                    "after the other, or unit(dim, 2), in turn");
  static constexpr bool ok = Ok;
};
template <bool Ok, class... Context>
struct a_named_row_is_there {
  static_assert(Ok, "plait[no-such-row]: the model's tables have no parameter or activation point of this name (and kind of layer); "
                    "write it as the table does, with * for the layer's number");
  static constexpr bool ok = Ok;
};
template <bool Ok, class... Context>
struct every_parameter_row_has_a_rule {
  static_assert(Ok, "plait[uncovered-parameter]: no rule of this plan matches this row of the parameter table; "
                    "add a rule for it (replicated is a style too)");
  static constexpr bool ok = Ok;
};
template <bool Ok, class... Context>
struct every_rule_matches_a_row {
  static_assert(Ok, "plait[unused-rule]: this rule rules no row of the model's tables: none matches, or each has a more specific rule; "
                    "correct its pattern or delete it");
  static constexpr bool ok = Ok;
};
template <bool Ok, class... Context>
struct what_an_amendment_takes_away_is_there {
  static_assert(Ok, "plait[amendment-in-vain]: without<...> names a rule that the amended plan does not have; correct the pattern "
                    "or delete it");
  static constexpr bool ok = Ok;
};
template <bool Ok, class... Context>
struct one_most_specific_rule_matches_a_row {
  static_assert(Ok, "plait[ambiguous-rule]: two rules of equal specificity match this row; delete one of them");
  static constexpr bool ok = Ok;
};
template <bool Ok, class... Context>
struct every_activation_point_has_a_rule {
  static_assert(Ok, "plait[uncovered-activation]: no activation rule of this plan matches this point of the model; "
                    "add one that states the layout wanted there");
  static constexpr bool ok = Ok;
};
template <bool Ok, class... Context>
struct parameters_take_parameter_styles {
  static_assert(Ok, "plait[activation-style-on-parameter]: this style moves activations only; it cannot place a parameter. "
                    "One that can has an axis and four placements: weight, bias, input, output");
  static constexpr bool ok = Ok;
};
template <bool Ok, class... Context>
struct fsdp_gathers_copies_only {
  static_assert(Ok, "plait[fsdp-over-sharded]: this parameter differs between the ranks of that axis; FSDP would treat them as "
                    "copies. Use the expert mesh's axis");
  static constexpr bool ok = Ok;
};
template <bool Ok, class... Context>
struct the_dim_that_is_stored_in_pieces_is_known {
  static_assert(Ok, "plait[storage-dim-open]: which dim FSDP cuts here follows from sizes that are known at run time only; name the "
                    "dim, fsdp<axis, dim>, or ask the parameter's slot");
  static constexpr bool ok = Ok;
};
template <bool Ok, class... Context>
struct fsdp_shares_out_what_ranks_use_apart {
  static_assert(Ok, "plait[fsdp-over-invariant]: this parameter's style says that the ranks of FSDP's axis do identical work with it "
                    "(Invariant), so they have no gradients to add; name the axis that cuts the batch for FSDP, or another one in the style");
  static constexpr bool ok = Ok;
};
template <bool Ok, class... Context>
struct a_styled_op_has_its_operands {
  static_assert(Ok, "plait[styled-operands]: an op under a style takes the context, a tensor (project_experts: dispatched rows) and weights with "
                    "their style, as weight<plan, model, \"name\">(store) gives them; without a style it is linear, grouped_linear");
  static constexpr bool ok = Ok;
};
template <bool Ok, class... Context>
struct a_precision_can_be_kept {
  static_assert(Ok, "plait[precision-types]: a precision names float, double or plait::bfloat16 for each role, and one type for reducing gradients "
                    "and for accumulating them");
  static constexpr bool ok = Ok;
};
template <bool Ok, class... Context>
struct a_gradient_is_synchronised_before_the_optimizer {
  static_assert(Ok, "plait[gradient-not-synchronised]: the gradient still holds a pending sum on this axis; "
                    "the plan has no sync for it");
  static constexpr bool ok = Ok;
};
template <bool Ok, class... Context>
struct a_pending_sum_is_not_read {
  static_assert(Ok, "plait[pending-read]: this tensor holds a pending sum, of which a rank's memory is only its own part; take value_of(c, x) "
                    "for one number, redistribute it for more, or data().local for the part itself");
  static constexpr bool ok = Ok;
};
template <bool Ok, class... Context>
struct a_loss_is_partial_or_invariant {
  static_assert(Ok, "plait[loss-not-scalar-partial]: a loss must be Partial or Invariant on every axis before backward");
  static constexpr bool ok = Ok;
};
template <bool Ok, class... Context>
struct a_router_has_its_experts {
  static_assert(Ok, "plait[router-without-experts]: ep_router masks to local experts, but no grouped_gemm rule on the same axis "
                    "owns experts");
  static constexpr bool ok = Ok;
};
template <bool Ok, class... Context>
struct a_router_gets_the_tokens_it_wants {
  static_assert(Ok, "plait[router-tokens]: the activation rule of these layers brings their tokens otherwise than the router's style wants "
                    "them; ep_router goes with tokens that are gathered, dispatch_router with tokens that stay cut");
  static constexpr bool ok = Ok;
};
template <bool Ok, class... Context>
struct a_maximum_has_no_gradient {
  static_assert(Ok, "plait[not-differentiable]: PartialMax has no gradient; stop the gradient before it, or reduce it first");
  static constexpr bool ok = Ok;
};
template <bool Ok, class... Context>
struct experts_see_all_tokens_of_their_axis {
  static_assert(Ok, "plait[tokens-cut-over-experts]: the tokens are cut over an axis on which the experts differ; gather them "
                    "over that axis before the experts, or send their rows (to_experts)");
  static constexpr bool ok = Ok;
};
template <bool Ok, class... Context>
struct tokens_are_cut_over_all_experts_or_none {
  static_assert(Ok, "plait[tokens-half-cut]: of the axes on which the experts differ, some cut the tokens and this one does not; cut the "
                    "tokens over all of them, so that their rows are sent, or gather them over all");
  static constexpr bool ok = Ok;
};
template <bool Ok, class... Context>
struct rows_return_to_their_tokens {
  static_assert(Ok, "plait[rows-with-experts]: these rows are still on the ranks of their experts; bring them back (to_tokens) before "
                    "they are combined");
  static constexpr bool ok = Ok;
};
template <bool Ok, class... Context>
struct operands_share_one_mesh {
  static_assert(Ok, "plait[mesh-mismatch]: these operands are laid out on different meshes, whose axes name different ranks; "
                    "state all layouts of a program on one mesh");
  static constexpr bool ok = Ok;
};
template <bool Ok, class... Context>
struct rows_meet_the_experts_they_were_dispatched_to {
  static_assert(Ok, "plait[experts-apart]: these rows were dispatched to experts or for tokens that lie otherwise than the ones "
                    "they meet here; give a layer's expert weights one cut, and combine with the routing of the dispatched tokens");
  static constexpr bool ok = Ok;
};
template <bool Ok, class... Context>
struct side_inputs_lie_as_their_rows {
  static_assert(Ok, "plait[rows-apart]: labels, masks, tables and segments must be cut as the rows that they go with are, and be "
                    "whole elsewhere; make them with the same layout");
  static constexpr bool ok = Ok;
};
template <bool Ok, class... Context>
struct the_sequence_is_whole {
  static_assert(Ok, "plait[sequence-cut]: this op adds or takes positions of dim 1, but an axis cuts that dim; gather over it first");
  static constexpr bool ok = Ok;
};
template <bool Ok, class... Context>
struct what_is_cached_lies_as_its_cache {
  static_assert(Ok, "plait[cache-apart]: these keys, values or segments lie otherwise than the cache they are appended to; make the "
                    "cache with their layout, or redistribute them");
  static constexpr bool ok = Ok;
};
template <bool Ok, class... Context>
struct row_local_ops_see_whole_rows {
  static_assert(Ok, "plait[row-cut]: this op needs the whole of its last dim on every rank, but an axis cuts it; gather first");
  static constexpr bool ok = Ok;
};
template <bool Ok, class... Context>
struct a_value_enters_a_region_once {
  static_assert(Ok, "plait[entered-twice]: this value has already entered the region; share the entered value between its "
                    "consumers, so that their gradients are added before the one reduction");
  static constexpr bool ok = Ok;
};
template <bool Ok, class... Context>
struct a_reshape_keeps_cut_dims_whole {
  static_assert(Ok, "plait[reshape-cut]: a reshape may split or merge a cut dim only if the cut stays outermost; gather first");
  static constexpr bool ok = Ok;
};
template <bool Ok, class... Context>
struct extents_agree {
  static_assert(Ok, "plait[extent-mismatch]: these operands' extents do not fit each other; compare their shapes");
  static constexpr bool ok = Ok;
};
template <bool Ok, class... Context>
struct elements_agree {
  static_assert(Ok, "plait[element-mismatch]: these operands' element types differ; cast one of them");
  static constexpr bool ok = Ok;
};
template <bool Ok, class... Context>
struct a_style_fits_the_rank_of_its_parameter {
  static_assert(Ok, "plait[style-rank]: this style cuts a dim that the parameter does not have; a vector takes replicated or "
                    "sequence_parallel");
  static constexpr bool ok = Ok;
};
template <bool Ok, class... Context>
struct only_packed_dims_are_cut_in_sections {
  static_assert(Ok, "plait[not-packed]: this style cuts packed sections, but the parameter is not packed in that dim; use the "
                    "plain style, or declare packed(dim, sections) in its row");
  static constexpr bool ok = Ok;
};
template <bool Ok, class... Context>
struct tied_parameters_lie_alike {
  static_assert(Ok, "plait[tied-mismatch]: two names of one tied parameter have rules that place it differently; give both the "
                    "same cut (by vocabulary)");
  static constexpr bool ok = Ok;
};

}  // namespace plait::inline v0_1::check
