// config.json.
#include "plait/io/config.hpp"

#include "support.hpp"

using namespace plait::io;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::read([&] {
    const model_config c = parse_config("f", std::string(fuzz::text_of(data, size)));
    fuzz::require(c.vocabulary > 0 && c.hidden > 0 && c.heads > 0 && c.head_dim > 0, "sizes are positive");
    fuzz::require(c.layers > 0 && c.layers <= max_config_layers, "layers are bounded");
    fuzz::require(c.sparse_layer.size() == static_cast<std::size_t>(c.layers), "every layer is known");
  });
  return 0;
}
