#include "demo-server/protocol/reply.h"

#include <cmath>
#include <cstring>

namespace liveexec::demo {

void Reply::Header(char type, int64_t number) {
  char buffer[kIntegerChars + 3];
  buffer[0] = type;
  const size_t size = 1 + WriteInteger(number, buffer + 1);
  buffer[size] = '\r';
  buffer[size + 1] = '\n';
  out_->append(buffer, size + 2);
}

void Reply::Simple(std::string_view text) {
  out_->push_back('+');
  out_->append(text);
  out_->append("\r\n", 2);
}

void Reply::Error(std::string_view text) {
  ++errors_;
  out_->push_back('-');
  const size_t start = out_->size();
  out_->append(text);
  for (size_t i = start; i < out_->size(); ++i) {
    if ((*out_)[i] == '\r' || (*out_)[i] == '\n') (*out_)[i] = ' ';
  }
  out_->append("\r\n", 2);
}

void Reply::Bool(bool value) {
  if (protocol_ == 2) return Integer(value ? 1 : 0);
  out_->append(value ? "#t\r\n" : "#f\r\n", 4);
}

void Reply::Bulk(std::string_view bytes) {
  Header('$', static_cast<int64_t>(bytes.size()));
  out_->append(bytes);
  out_->append("\r\n", 2);
}

void Reply::BulkInteger(int64_t value) {
  char buffer[kIntegerChars];
  Bulk({buffer, WriteInteger(value, buffer)});
}

void Reply::Double(double value) {
  const std::string text = FormatDouble(value);
  if (protocol_ == 2) return Bulk(text);
  out_->push_back(',');
  out_->append(text);
  out_->append("\r\n", 2);
}

void Reply::BigNumber(std::string_view digits) {
  if (protocol_ == 2) return Bulk(digits);
  out_->push_back('(');
  out_->append(digits);
  out_->append("\r\n", 2);
}

void Reply::Verbatim(std::string_view text) {
  if (protocol_ == 2) return Bulk(text);
  Header('=', static_cast<int64_t>(text.size() + 4));
  out_->append("txt:", 4);
  out_->append(text);
  out_->append("\r\n", 2);
}

void Reply::Null() {
  if (protocol_ == 2) {
    out_->append("$-1\r\n", 5);
  } else {
    out_->append("_\r\n", 3);
  }
}

void Reply::NullArray() {
  if (protocol_ == 2) {
    out_->append("*-1\r\n", 5);
  } else {
    out_->append("_\r\n", 3);
  }
}

void Reply::Map(size_t pairs) {
  if (protocol_ == 2) {
    Header('*', static_cast<int64_t>(pairs * 2));
  } else {
    Header('%', static_cast<int64_t>(pairs));
  }
}

}  // namespace liveexec::demo
