// ControlServer as a component: how the control socket and its clients cross an upgrade.
#include <errno.h>
#include <unistd.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "core/error.h"
#include "handoff/control.capnp.h"
#include "handoff/control_server.h"
#include "handoff/program_note.h"

namespace liveexec {

LIVEEXEC_COMPONENT("liveexec-control", 1, 1);

namespace {

capnp::Data::Reader AsData(const std::string& bytes) {
  return {reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()};
}

std::string AsString(capnp::Data::Reader bytes) {
  return {reinterpret_cast<const char*>(bytes.begin()), bytes.size()};
}

}  // namespace

absl::Status ControlServer::Initialize() {
  if (configured_path_.empty()) return absl::OkStatus();
  LIVEEXEC_ASSIGN_OR_RETURN(listener_, ControlListener::Bind(configured_path_));
  owns_file_ = true;
  return absl::OkStatus();
}

absl::Status ControlServer::Quiesce() {
  state_ = State::kQuiesced;
  return absl::OkStatus();
}

absl::Status ControlServer::Export(ExportContext& context) const {
  auto image = context.InitRoot<control::ServerImage>();
  image.setPath(capnp::Text::Reader(listener_.path().c_str(), listener_.path().size()));
  image.setListening(static_cast<bool>(listener_));
  image.setSocketDevice(listener_.device());
  image.setSocketInode(listener_.inode());
  image.setNextConnection(next_connection_);
  if (listener_) LIVEEXEC_RETURN_IF_ERROR(context.CarryFd("listener", listener_.fd()));

  std::vector<const ControlConnection*> living;
  for (const auto& [id, connection] : connections_) {
    if (!connection.dead) living.push_back(&connection);
  }
  auto list = image.initConnections(static_cast<unsigned>(living.size()));
  for (unsigned i = 0; i < living.size(); ++i) {
    const ControlConnection& connection = *living[i];
    list[i].setId(connection.id);
    list[i].setUnread(AsData(connection.input.bytes()));
    list[i].setUnsent(AsData(connection.unsent));
    list[i].setWaitsForUpgrade(connection.waits.has_value());
    list[i].setUpgradeRequest(connection.waits.value_or(0));
    list[i].setNoMoreInput(connection.no_more_input);
    list[i].setClosing(connection.closing);
    LIVEEXEC_RETURN_IF_ERROR(context.CarryFd("client", connection.id, connection.fd.get()));
  }
  return absl::OkStatus();
}

void ControlServer::Resume() { Activate(); }

absl::Status ControlServer::Rehydrate(ImportContext& context) {
  LIVEEXEC_ASSIGN_OR_RETURN(auto image, context.Root<control::ServerImage>());
  state_ = State::kRehydrated;
  next_connection_ = image.getNextConnection();
  if (image.getListening()) {
    LIVEEXEC_ASSIGN_OR_RETURN(UniqueFd fd, context.TakeFd("listener"));
    const capnp::Text::Reader path = image.getPath();
    listener_ = ControlListener(std::move(fd), std::string(path.cStr(), path.size()),
                                image.getSocketDevice(), image.getSocketInode());
  } else if (!configured_path_.empty() && !context.rehearsal()) {
    // The old program had no control socket and this one wants one. Nobody can tell if we roll
    // back: the file then looks like a dead server's.
    LIVEEXEC_ASSIGN_OR_RETURN(listener_, ControlListener::Bind(configured_path_));
  }
  return RehydrateConnections(image, context);
}

absl::Status ControlServer::RehydrateConnections(control::ServerImage::Reader image,
                                                 ImportContext& context) {
  for (control::Connection::Reader saved : image.getConnections()) {
    const ConnectionId id = saved.getId();
    auto [entry, is_new] = connections_.try_emplace(id);
    if (!is_new || id == 0 || id >= next_connection_) {
      return absl::InvalidArgumentError(absl::StrCat("control connection ", id, " is impossible"));
    }
    ControlConnection& connection = entry->second;
    connection.id = id;
    LIVEEXEC_ASSIGN_OR_RETURN(connection.fd, context.TakeFd("client", id));
    connection.input.Append(AsString(saved.getUnread()));
    connection.unsent = AsString(saved.getUnsent());
    if (saved.getWaitsForUpgrade()) connection.waits = saved.getUpgradeRequest();
    connection.no_more_input = saved.getNoMoreInput();
    connection.closing = saved.getClosing();
  }
  return absl::OkStatus();
}

// Somebody has removed the socket's name, as those who clean up /tmp do: without it nobody can ask
// for anything, and each upgrade is an occasion.
void ControlServer::RestoreName() {
  if (!listener_ || access(listener_.path().c_str(), F_OK) == 0 || errno != ENOENT) return;
  // Who still came by the old name.
  AcceptAll();
  auto again = ControlListener::Bind(listener_.path());
  if (again.ok()) listener_ = *std::move(again);
}

void ControlServer::Activate() {
  state_ = State::kActive;
  RestoreName();
  owns_file_ = static_cast<bool>(listener_);
  // The time that the upgrade took is not the clients' fault.
  const absl::Duration now = Now();
  for (auto& [id, connection] : connections_) {
    connection.last_active = now;
    if (connection.frame_started) connection.frame_started = now;
    connection.Flush(now);
  }
  // Whole frames may have been carried, and answers sent that were the last ones.
  unanswered_ = !connections_.empty();
}

}  // namespace liveexec
