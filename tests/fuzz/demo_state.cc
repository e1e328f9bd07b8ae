#include "tests/fuzz/demo_state.h"

#include <capnp/message.h>

#include "tests/fuzz/fuzzing.h"

namespace liveexec::fuzz {

using demo::StateFormat;

const StateFormat& FormatOf(int version) {
  if (version == 0) return demo::StateFormatV0();
  return version == 1 ? demo::StateFormatV1() : demo::StateFormatV2();
}

std::string KeyspaceExport(const StateFormat& format, const demo::Engine& engine) {
  capnp::MallocMessageBuilder message;
  format.WriteKeyspace(
      engine, [] { return false; }, message.initRoot<capnp::AnyPointer>());
  return Flat(message);
}

std::string SessionExport(const StateFormat& format, const demo::Session& session) {
  capnp::MallocMessageBuilder message;
  format.WriteSession(session, message.initRoot<capnp::AnyPointer>());
  return Flat(message);
}

std::string Comparable(const StateFormat& format, const demo::Session& session) {
  demo::Session plain;
  plain.id = session.id;
  plain.name = session.name;
  plain.library_name = session.library_name;
  plain.library_version = session.library_version;
  plain.address = session.address;
  plain.local_address = session.local_address;
  plain.database = session.database;
  plain.protocol = session.protocol;
  plain.created_ms = session.created_ms;
  plain.active_ms = session.active_ms;
  plain.last_command = session.last_command;
  plain.commands = session.commands;
  plain.reply_mode = session.reply_mode;
  plain.no_evict = session.no_evict;
  plain.no_touch = session.no_touch;
  plain.monitor = session.monitor;
  plain.transaction = session.transaction;
  plain.blocked = session.blocked;
  plain.out = session.out;
  plain.close_after_output = session.close_after_output;
  plain.killed = session.killed;
  std::string text = SessionExport(format, plain);
  for (const auto* names : {&session.channels, &session.patterns, &session.shard_channels}) {
    text += '\n';
    for (const std::string_view name : names->InOrder()) {
      text += std::to_string(name.size()) + ":" + std::string(name);
    }
  }
  return text;
}

}  // namespace liveexec::fuzz
