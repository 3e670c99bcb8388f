#pragma once
// Reads plait.json and proves what loading relies on: the text is the one that was written, every chunk lies inside its file and its
// tensor, and the chunks of a tensor tile it exactly once.
#include <limits>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "plait/io/hf_folder.hpp"
#include "plait/io/manifest.hpp"

namespace plait::inline v0_1::io {
namespace detail {

/// A JSON tree in which the numbers of "chunks" lists are kept apart, as numbers: there can be millions.
struct manifest_tree final : json_events {
  tree_builder tree;
  std::vector<std::vector<std::uint64_t>> lists;
  bool inside = false;

  explicit manifest_tree(std::string_view file) : tree(file, 1'000'000) {}
  [[noreturn]] void refuse() const { throw input_error(tree.file, "chunks", "holds something else than whole numbers from 0 on; save again"); }
  void null() override { inside ? refuse() : tree.null(); }
  void boolean(bool v) override { inside ? refuse() : tree.boolean(v); }
  void negative(std::int64_t v) override { inside ? refuse() : tree.negative(v); }
  void real(double v) override { inside ? refuse() : tree.real(v); }
  void string(std::string& v) override { inside ? refuse() : tree.string(v); }
  void natural(std::uint64_t v) override {
    if (!inside) return tree.natural(v);
    if (lists.back().size() == 100'000'000) throw input_error(tree.file, "chunks", "has more than 100000000 numbers");
    lists.back().push_back(v);
  }
  void begin_object() override { inside ? refuse() : tree.begin_object(); }
  void begin_array() override {
    if (inside) refuse();
    const bool chunks = tree.name == "chunks" && !tree.open.empty() && tree.open.back()->type == json_value::kind::object;
    if (!chunks) return tree.begin_array();
    tree.natural(lists.size());  // stands for the list
    lists.emplace_back();
    inside = true;
  }
  void key(std::string& v) override { tree.key(v); }
  void end_object() override { tree.end_object(); }
  void end_array() override {
    if (inside) inside = false;
    else tree.end_array();
  }
};

inline std::optional<element> known_type(std::string_view name) {
  const std::optional<element> type = element_named(name);
  return type && (dtype_of(*type) || *type == element::f16) ? type : std::nullopt;
}

}  // namespace detail

/// Throws input_error unless the chunks of `t` tile its shape exactly once.
inline void require_tiling(const std::string& shown, const stored_tensor& t) {
  const auto fail = [&](const std::string& problem) {
    throw input_error(shown, "tensor " + in_quotes(t.name) + " (" + name_of(t.role) + ")", problem + "; the checkpoint cannot be used");
  };
  std::int64_t covered = 0;
  for (const tensor_chunk& c : t.chunks) {
    for (std::size_t d = 0; d < static_cast<std::size_t>(t.rank); ++d)
      if (c.box.start[d] < 0 || c.box.count[d] <= 0 || c.box.start[d] > t.shape[d] || c.box.count[d] > t.shape[d] - c.box.start[d])
        fail("a chunk lies outside the shape " + shape_text(t.extents()));
    if (__builtin_add_overflow(covered, c.box.volume(t.rank), &covered)) fail("its chunks hold more elements than its shape");
  }
  // Overlaps: sweep along the dim in which the chunks begin at the most places.
  std::size_t along = 0, most = 0;
  for (std::size_t d = 0; d < static_cast<std::size_t>(t.rank); ++d) {
    std::set<std::int64_t> places;
    for (const tensor_chunk& c : t.chunks) places.insert(c.box.start[d]);
    if (places.size() > most) most = places.size(), along = d;
  }
  std::vector<const tensor_chunk*> order;
  for (const tensor_chunk& c : t.chunks) order.push_back(&c);
  std::sort(order.begin(), order.end(), [&](const tensor_chunk* a, const tensor_chunk* b) { return a->box.start[along] < b->box.start[along]; });
  tensor_box common;
  std::int64_t comparisons = 0;
  for (std::size_t i = 0; i < order.size(); ++i)
    for (std::size_t j = i + 1; j < order.size() && t.rank > 0 && order[j]->box.start[along] < order[i]->box.start[along] + order[i]->box.count[along]; ++j)
      if (++comparisons > 100'000'000) fail("has more chunks side by side than any mesh makes");
      else if (intersect(order[i]->box, order[j]->box, t.rank, common)) fail("two chunks overlap at " + shape_text({common.start.data(), static_cast<std::size_t>(t.rank)}));
  if (t.rank == 0 && t.chunks.size() > 1) fail("two chunks overlap");
  if (covered != t.elements())
    fail("its chunks hold " + std::to_string(covered) + " of " + std::to_string(t.elements()) + " elements (is a shard missing?)");
}

/// Parses and checks a manifest's text; `shown` is what errors call the file.
inline manifest parse_manifest(const std::string& shown, std::string_view text) {
  const auto damaged = [&](const std::string& why) -> input_error {
    return input_error(shown, "", why + "; it is damaged, use another checkpoint");
  };
  // The digest first: nothing else of a damaged text is looked at.
  constexpr std::string_view field = ",\n\"digest\":\"", end = "\"}\n";
  const std::size_t tail = field.size() + digest::digits + end.size();
  if (text.size() < tail || text.substr(text.size() - tail, field.size()) != field || text.substr(text.size() - end.size()) != end)
    throw damaged("does not end with its digest");
  const std::optional<digest> own = digest::of_text(text.substr(text.size() - tail + field.size(), digest::digits));
  if (!own || *own != digest_of_text(text.substr(0, text.size() - tail))) throw damaged("its digest is not that of its text");

  detail::manifest_tree tree(shown);
  parse_json(shown, "", text, 8, tree);
  const json_value& root = tree.tree.root;
  using kind = json_value::kind;
  const auto member = [&](const json_value& of, const char* name, kind type, const std::string& where) -> const json_value& {
    const json_value* v = of.find(name);
    if (v == nullptr) throw input_error(shown, where + name, "is missing; save again");
    if (v->type != type) throw input_error(shown, where + name, std::string("is ") + v->kind_name() + "; save again");
    return *v;
  };
  constexpr auto most = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
  const auto whole = [&](const json_value& of, const char* name, const std::string& where) {
    const std::uint64_t n = member(of, name, kind::natural, where).natural;
    if (n > most) throw input_error(shown, where + name, "is above 2^63; save again");
    return static_cast<std::int64_t>(n);
  };
  const auto words = [&](const json_value& of, const char* name, const std::string& where) -> const std::string& {
    return member(of, name, kind::string, where).text;
  };
  if (root.type != kind::object || root.find("format") == nullptr || words(root, "format", "") != "plait checkpoint")
    throw input_error(shown, "format", "is not \"plait checkpoint\"; name a folder that moe_trainer --save wrote");
  if (const std::int64_t version = whole(root, "version", ""); version != manifest_version)
    throw input_error(shown, "version", "is " + std::to_string(version) + ", this program reads " + std::to_string(manifest_version) + "; use the program that wrote it");
  manifest m;
  m.written_by = words(root, "written_by", "");
  m.training.step = whole(root, "step", "");
  m.training.rows_seen = whole(root, "rows_seen", "");
  m.training.tokens_seen = whole(root, "tokens_seen", "");
  m.training.seed = member(root, "seed", kind::natural, "").natural;
  if (root.find("tokens") != nullptr) m.training.tokens = words(root, "tokens", "");
  m.family = words(root, "family", "");
  m.plan = words(root, "plan", "");
  if (const auto d = digest::of_text(words(root, "plan_digest", ""))) m.plan_digest = *d;
  else throw input_error(shown, "plan_digest", "is no digest; save again");
  m.element_types = words(root, "dtype", "");
  const auto items = [&](const char* name, kind type) -> const std::vector<json_value>& {
    const std::vector<json_value>& all = member(root, name, kind::array, "").items;
    for (const json_value& v : all)
      if (v.type != type) throw input_error(shown, name, std::string("holds ") + v.kind_name() + "; save again");
    return all;
  };
  for (const json_value& v : items("axes", kind::string)) m.axes.push_back(v.text);
  for (const json_value& v : items("sizes", kind::natural)) m.sizes.push_back(static_cast<std::int64_t>(std::min(v.natural, most)));
  if (m.axes.size() != m.sizes.size()) throw input_error(shown, "sizes", "has not one number an axis; save again");
  m.block_bytes = whole(root, "block_bytes", "");
  if (m.block_bytes < 64 || m.block_bytes > (std::int64_t{1} << 30)) throw input_error(shown, "block_bytes", "is not between 64 and 2^30; save again");

  std::set<std::string> names;
  for (const json_value& v : member(root, "files", kind::array, "").items) {
    stored_file f;
    const std::string where = "files[" + std::to_string(m.files.size()) + "].";
    if (v.type != kind::object) throw input_error(shown, where, "is no object; save again");
    f.name = words(v, "name", where);
    if (const std::string problem = detail::bare_name_problem(f.name); !problem.empty() || f.name == manifest_name)
      throw input_error(shown, where + "name", in_quotes(f.name) + " " + (problem.empty() ? "is the manifest's own name" : problem) + "; a checkpoint names files of its folder only");
    if (!names.insert(f.name).second) throw input_error(shown, where + "name", in_quotes(f.name) + " is there twice; save again");
    f.bytes = static_cast<std::uint64_t>(whole(v, "bytes", where));
    f.header = static_cast<std::uint64_t>(whole(v, "header", where));
    if (f.header > f.bytes) throw input_error(shown, where + "header", "is larger than the file; save again");
    const std::string& blocks = words(v, "blocks", where);
    const auto block = static_cast<std::uint64_t>(m.block_bytes);
    if (blocks.size() / digest::digits != (f.bytes + block - 1) / block || blocks.size() % digest::digits != 0)
      throw input_error(shown, where + "blocks", "has not one digest a block; save again");
    for (std::size_t at = 0; at < blocks.size(); at += digest::digits) {
      const auto d = digest::of_text(std::string_view(blocks).substr(at, digest::digits));
      if (!d) throw input_error(shown, where + "blocks", "holds something else than digests; save again");
      f.blocks.push_back(*d);
    }
    m.files.push_back(std::move(f));
  }

  std::set<std::pair<tensor_role, std::string>> seen;
  for (const json_value& v : member(root, "tensors", kind::array, "").items) {
    stored_tensor t;
    const std::string where = "tensors[" + std::to_string(m.tensors.size()) + "].";
    if (v.type != kind::object) throw input_error(shown, where, "is no object; save again");
    t.name = words(v, "name", where);
    const std::string& role = words(v, "role", where);
    bool known = false;
    for (const tensor_role r : all_roles)
      if (role == name_of(r)) t.role = r, known = true;
    if (!known) throw input_error(shown, where + "role", in_quotes(role, 40) + " is unknown; use the program that wrote it");
    const std::optional<element> type = detail::known_type(words(v, "dtype", where));
    if (!type) throw input_error(shown, where + "dtype", "is a type that cannot be loaded; save again");
    t.type = *type;
    const json_value& shape = member(v, "shape", kind::array, where);
    if (shape.items.size() > static_cast<std::size_t>(max_chunk_rank)) throw input_error(shown, where + "shape", "has more than 4 dimensions");
    std::uint64_t bytes = bits_of(t.type) / 8;
    for (const json_value& extent : shape.items) {
      if (extent.type != kind::natural || !detail::checked_multiply(bytes, extent.natural, bytes) || bytes > most)
        throw input_error(shown, where + "shape", "is not possible; save again");
      t.shape[static_cast<std::size_t>(t.rank++)] = static_cast<std::int64_t>(extent.natural);
    }
    t.layout = words(v, "layout", where);
    const std::int64_t list = whole(v, "chunks", where);
    if (static_cast<std::size_t>(list) >= tree.lists.size() || static_cast<std::size_t>(list) != m.tensors.size())
      throw input_error(shown, where + "chunks", "is no list; save again");
    const std::vector<std::uint64_t>& flat = tree.lists[static_cast<std::size_t>(list)];
    const std::size_t each = 2 + 2 * static_cast<std::size_t>(t.rank);
    if (flat.size() % each != 0) throw input_error(shown, where + "chunks", "is cut short; save again");
    for (std::size_t at = 0; at < flat.size(); at += each) {
      tensor_chunk c;
      if (flat[at] >= m.files.size()) throw input_error(shown, where + "chunks", "names a file that is not listed; save again");
      c.file = static_cast<int>(flat[at]);
      c.position = flat[at + 1];
      std::uint64_t size = bits_of(t.type) / 8;
      for (std::size_t d = 0; d < static_cast<std::size_t>(t.rank); ++d) {
        const std::uint64_t start = flat[at + 2 + d], count = flat[at + 2 + static_cast<std::size_t>(t.rank) + d];
        if (start > most || count > most || !detail::checked_multiply(size, count, size))
          throw input_error(shown, where + "chunks", "holds an impossible box; save again");
        c.box.start[d] = static_cast<std::int64_t>(start);
        c.box.count[d] = static_cast<std::int64_t>(count);
      }
      const stored_file& f = m.files[flat[at]];
      if (c.position < f.header || c.position > f.bytes || size > f.bytes - c.position)
        throw input_error(shown, where + "chunks", "a chunk lies outside file " + in_quotes(f.name) + "; save again");
      t.chunks.push_back(c);
    }
    require_tiling(shown, t);
    if (!seen.emplace(t.role, t.name).second) throw input_error(shown, where + "name", in_quotes(t.name) + " is there twice; save again");
    m.tensors.push_back(std::move(t));
  }
  return m;
}

}  // namespace plait::inline v0_1::io
