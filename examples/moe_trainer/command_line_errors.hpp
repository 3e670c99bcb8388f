#pragma once
// What was wrong with a command line, in words of our own where CLI11's do not say what to do. Included by options.cpp alone.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace trainer {

/// How many letters are wrong, left out or too many.
inline std::size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t corner = std::exchange(row[0], i);
    for (std::size_t j = 1; j <= b.size(); ++j)
      corner = std::exchange(row[j], std::min({row[j] + 1, row[j - 1] + 1, corner + (a[i - 1] != b[j - 1])}));
  }
  return row[b.size()];
}

/// One line: what is wrong, and where help is.
inline std::string explained(const CLI::App& app, const CLI::ParseError& e) {
  const CLI::App* command = &app;
  std::string name = "moe_trainer";
  while (!command->get_subcommands().empty()) {
    command = command->get_subcommands().front();
    name += " " + command->get_name();
  }
  const auto kind = static_cast<CLI::ExitCodes>(e.get_exit_code());
  std::string text = e.what();
  const std::string option = text.substr(0, std::min(text.find(':'), text.size()));
  const std::vector<std::string> rest = app.remaining(true);
  const auto listed = [&](const auto& all) {
    std::string names;
    for (const CLI::App* sub : all) names += (names.empty() ? "" : ", ") + sub->get_name();
    return names;
  };
  if (kind == CLI::ExitCodes::RequiredError && command->get_require_subcommand_min() > 0) {
    const std::string known = listed(command->get_subcommands([](const CLI::App* sub) { return !sub->get_name().empty(); }));
    text = rest.empty() ? "no subcommand is given; the subcommands are " + known : "there is no subcommand '" + rest.front() + "'; the subcommands are " + known;
  } else if (kind == CLI::ExitCodes::ExtrasError && !rest.empty() && rest.front().starts_with("-")) {
    const std::string flag = rest.front().substr(0, rest.front().find('='));
    text = command != &app && command->get_option_no_throw(flag) != nullptr ? flag + " stands before the subcommand; write it after it" : "there is no flag " + flag;
    for (const CLI::App* sub : app.get_subcommands([](const CLI::App*) { return true; }))
      if (text.starts_with("there") && sub != command && sub->get_option_no_throw(flag) != nullptr) text += (text.ends_with(flag) ? " of this command, but of " : ", ") + sub->get_name();
    std::string nearest;
    for (std::size_t best = 3; const CLI::Option* known : command->get_options())
      if (const std::size_t d = distance(known->get_name(), flag); d < best) best = d, nearest = known->get_name();
    if (text.ends_with(flag) && !nearest.empty()) text += "; " + nearest + " is meant, perhaps";
  } else if (kind == CLI::ExitCodes::ExtrasError && !rest.empty()) {
    text = "'" + rest.front() + "' belongs to no flag";
  } else if (kind == CLI::ExitCodes::ConversionError && text.find(" = ") != text.npos) {
    const std::size_t begin = text.find("--"), middle = text.find(" = ");
    const CLI::Option* const given = command->get_option_no_throw(text.substr(begin, middle - begin));
    text = text.substr(begin, middle - begin) + (given != nullptr && given->get_items_expected_max() == 0 ? ": takes no value, but is given '" + text.substr(middle + 3) + "'"
                                                                                                          : ": '" + text.substr(middle + 3) + "' is not a number");
  } else if (kind == CLI::ExitCodes::ArgumentMismatch && option != text) {
    text = option + (text.find("At Most") != text.npos ? ": is given more than once" : ": needs a value");
  }
  for (char& ch : text) if (ch == '\n') ch = ' ';
  return text + "; see " + name + " --help";
}

}  // namespace trainer
