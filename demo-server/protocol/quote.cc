#include "demo-server/protocol/quote.h"

#include <cctype>
#include <cstdio>

namespace liveexec::demo {

std::string Quote(std::string_view bytes) {
  std::string text = "\"";
  for (const char c : bytes) {
    switch (c) {
      case '\\':
      case '"':
        text.push_back('\\');
        text.push_back(c);
        continue;
      case '\n':
        text.append("\\n");
        continue;
      case '\r':
        text.append("\\r");
        continue;
      case '\t':
        text.append("\\t");
        continue;
      case '\a':
        text.append("\\a");
        continue;
      case '\b':
        text.append("\\b");
        continue;
      default:
        break;
    }
    if (isprint(static_cast<unsigned char>(c)) != 0) {
      text.push_back(c);
    } else {
      char buffer[8];
      snprintf(buffer, sizeof(buffer), "\\x%02x", static_cast<unsigned char>(c));
      text.append(buffer);
    }
  }
  text.push_back('"');
  return text;
}

}  // namespace liveexec::demo
