// plait.json of a checkpoint. The input is the text before the digest, which is added; as it stands it is tried as well.
#include "plait/io/manifest_reader.hpp"
#include "support.hpp"

using namespace plait::io;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text(fuzz::text_of(data, size));
  fuzz::read([&] { parse_manifest("f", text); });
  fuzz::read([&] {
    const manifest m = parse_manifest("f", text + ",\n\"digest\":\"" + digest_of_text(text).text() + "\"}\n");
    for (const stored_tensor& t : m.tensors) {
      std::int64_t elements = 0;
      for (const tensor_chunk& c : t.chunks) {
        fuzz::require(c.file >= 0 && static_cast<std::size_t>(c.file) < m.files.size(), "a chunk's file is listed");
        const stored_file& f = m.files[static_cast<std::size_t>(c.file)];
        const auto bytes = static_cast<std::uint64_t>(c.box.volume(t.rank)) * (bits_of(t.type) / 8);
        fuzz::require(c.position >= f.header && c.position <= f.bytes && bytes <= f.bytes - c.position,
                      "a chunk lies in its file");
        elements += c.box.volume(t.rank);
      }
      fuzz::require(elements == t.elements(), "the chunks make up the tensor");
      fuzz::require(m.find(t.role, t.name) != nullptr, "a tensor is found");
    }
    manifest_text(m);
  });
  return 0;
}
