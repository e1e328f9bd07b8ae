#include "handoff/manifest.h"

#include <map>
#include <string>
#include <string_view>
#include <utility>

#include "core/error.h"
#include "handoff/capnp_text.h"
#include "handoff/error_code.h"
#include "handoff/guarded_call.h"
#include "handoff/journal_image.h"

namespace liveexec {
namespace {

capnp::Data::Reader ToData(std::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

std::string ToString(capnp::Data::Reader data) {
  return std::string(reinterpret_cast<const char*>(data.begin()), data.size());
}

void WriteStrings(const std::vector<std::string>& strings,
                  capnp::List<capnp::Data>::Builder builder) {
  for (uint32_t i = 0; i < strings.size(); ++i) builder.set(i, ToData(strings[i]));
}

std::vector<std::string> ReadStrings(capnp::List<capnp::Data>::Reader reader) {
  std::vector<std::string> strings;
  strings.reserve(reader.size());
  for (auto data : reader) strings.push_back(ToString(data));
  return strings;
}

void WriteTraits(const ProcessTraits& traits, image::Manifest::Traits::Builder builder) {
  WriteStrings(traits.arguments,
               builder.initArguments(static_cast<uint32_t>(traits.arguments.size())));
  WriteStrings(traits.environment,
               builder.initEnvironment(static_cast<uint32_t>(traits.environment.size())));
  builder.setCommandName(ToData(traits.command_name));
  builder.setBlockedSignals(traits.blocked_signals);
  builder.setIgnoredSignals(traits.ignored_signals);
  builder.setDumpable(traits.dumpable);
  auto rlimits = builder.initRlimits(static_cast<uint32_t>(traits.rlimits.size()));
  for (uint32_t i = 0; i < traits.rlimits.size(); ++i) {
    rlimits[i].setResource(traits.rlimits[i].resource);
    rlimits[i].setSoft(traits.rlimits[i].soft);
    rlimits[i].setHard(traits.rlimits[i].hard);
  }
}

ProcessTraits ReadTraits(image::Manifest::Traits::Reader reader) {
  ProcessTraits traits;
  traits.arguments = ReadStrings(reader.getArguments());
  traits.environment = ReadStrings(reader.getEnvironment());
  traits.command_name = ToString(reader.getCommandName());
  traits.blocked_signals = reader.getBlockedSignals();
  traits.ignored_signals = reader.getIgnoredSignals();
  traits.dumpable = reader.getDumpable();
  for (auto limit : reader.getRlimits()) {
    traits.rlimits.push_back({limit.getResource(), limit.getSoft(), limit.getHard()});
  }
  return traits;
}

void WriteComponents(const Manifest& manifest, image::Manifest::Builder builder) {
  auto list = builder.initComponents(static_cast<uint32_t>(manifest.components.size()));
  for (uint32_t i = 0; i < manifest.components.size(); ++i) {
    const ComponentRecord& component = manifest.components[i];
    list[i].setName(AsText(component.name));
    list[i].setSchemaVersion(component.schema_version);
    list[i].setHasImage(component.has_image);
    list[i].setLength(component.length);
    list[i].setChecksum(component.checksum);
  }
}

void WriteFds(const std::vector<FdEntry>& fds, image::Manifest::Builder builder) {
  std::map<std::pair<std::string, std::string>, uint32_t> ids;
  std::vector<const FdEntry*> first_of_role;
  auto list = builder.initFds(static_cast<uint32_t>(fds.size()));
  const FdEntry* previous = nullptr;
  uint32_t role = 0;
  for (uint32_t i = 0; i < fds.size(); ++i) {
    const FdEntry& entry = fds[i];
    if (previous == nullptr || entry.role != previous->role ||
        entry.component != previous->component) {
      auto [id, added] = ids.try_emplace({entry.component, entry.role},
                                         static_cast<uint32_t>(first_of_role.size()));
      if (added) first_of_role.push_back(&entry);
      role = id->second;
    }
    previous = &entry;
    auto fd = list[i];
    fd.setRole(role);
    fd.setKind(static_cast<uint16_t>(entry.identity.kind));
    fd.setNumber(entry.number);
    fd.setDevice(entry.identity.device);
    fd.setInode(entry.identity.inode);
    fd.setSocketCookie(entry.identity.socket_cookie);
    fd.setLent(entry.lent);
  }
  auto roles = builder.initRoles(static_cast<uint32_t>(first_of_role.size()));
  for (uint32_t i = 0; i < first_of_role.size(); ++i) {
    roles[i].setComponent(AsText(first_of_role[i]->component));
    roles[i].setRole(AsText(first_of_role[i]->role));
  }
}

absl::Status Malformed(std::string_view what) {
  return CodedError("E_MANIFEST", absl::StatusCode::kDataLoss,
                    "the manifest is malformed: " + std::string(what));
}

// A list whose elements take no space can claim any number of them. What WriteManifest writes takes
// at least a word for each, so what is read stays in proportion to the image.
absl::Status CheckCounts(image::Manifest::Reader reader, size_t words) {
  for (const size_t count :
       {reader.getComponents().size(), reader.getRoles().size(), reader.getFds().size(),
        reader.getHistory().size(), reader.getTraits().getRlimits().size()}) {
    if (count > words) return Malformed("a list claims more elements than there is room for");
  }
  return absl::OkStatus();
}

absl::Status ReadFds(image::Manifest::Reader reader, std::vector<FdEntry>& fds) {
  auto roles = reader.getRoles();
  fds.reserve(reader.getFds().size());
  for (auto fd : reader.getFds()) {
    if (fd.getRole() >= roles.size()) return Malformed("an fd has a role that is not there");
    auto role = roles[fd.getRole()];
    fds.push_back({.component = AsString(role.getComponent()),
                   .role = AsString(role.getRole()),
                   .number = fd.getNumber(),
                   .identity = {.kind = static_cast<FdKind>(fd.getKind()),
                                .device = fd.getDevice(),
                                .inode = fd.getInode(),
                                .socket_cookie = fd.getSocketCookie()},
                   .lent = fd.getLent()});
  }
  return absl::OkStatus();
}

void WriteLocks(const std::vector<FileLock>& locks, image::Manifest::Builder builder) {
  auto list = builder.initLocks(static_cast<uint32_t>(locks.size()));
  for (uint32_t i = 0; i < locks.size(); ++i) {
    list[i].setEntry(locks[i].entry);
    list[i].setExclusive(locks[i].exclusive);
    list[i].setStart(locks[i].start);
    list[i].setLength(locks[i].length);
  }
}

absl::Status ReadLocks(image::Manifest::Reader reader, Manifest& manifest) {
  for (auto lock : reader.getLocks()) {
    if (lock.getEntry() >= manifest.fds.size()) return Malformed("a lock is on no carried fd");
    manifest.locks.push_back({.entry = lock.getEntry(),
                              .exclusive = lock.getExclusive(),
                              .start = lock.getStart(),
                              .length = lock.getLength()});
  }
  return absl::OkStatus();
}

absl::Status ReadJournal(image::Manifest::Reader reader, Manifest& manifest) {
  LIVEEXEC_ASSIGN_OR_RETURN(manifest.current, FromImage(reader.getCurrent()));
  for (auto entry : reader.getHistory()) {
    LIVEEXEC_ASSIGN_OR_RETURN(JournalEntry past, FromImage(entry));
    manifest.history.push_back(std::move(past));
  }
  return absl::OkStatus();
}

}  // namespace

void WriteManifest(const Manifest& manifest, image::Manifest::Builder builder) {
  builder.setFrameworkAbi(manifest.framework_abi);
  builder.setApplication(AsText(manifest.application));
  builder.setVersion(AsText(manifest.version));
  builder.setGeneration(manifest.generation);
  builder.setUpgradesAttempted(manifest.upgrades_attempted);
  builder.setUpgradeBinary(AsText(manifest.upgrade_binary));
  builder.setProcessStartedUnixNs(manifest.process_started_unix_ns);
  builder.setBlackoutStartNs(manifest.blackout_start_ns);
  WriteComponents(manifest, builder);
  WriteFds(manifest.fds, builder);
  WriteLocks(manifest.locks, builder);
  WriteTraits(manifest.traits, builder.initTraits());
  ToImage(manifest.current, builder.initCurrent());
  auto history = builder.initHistory(static_cast<uint32_t>(manifest.history.size()));
  for (uint32_t i = 0; i < manifest.history.size(); ++i) ToImage(manifest.history[i], history[i]);
}

absl::StatusOr<Manifest> ReadManifest(capnp::MessageReader& message) {
  Manifest manifest;
  absl::Status status = GuardedCall("read the manifest", [&]() -> absl::Status {
    auto reader = message.getRoot<image::Manifest>();
    LIVEEXEC_RETURN_IF_ERROR(CheckCounts(reader, message.sizeInWords()));
    manifest.framework_abi = reader.getFrameworkAbi();
    manifest.application = AsString(reader.getApplication());
    manifest.version = AsString(reader.getVersion());
    manifest.generation = reader.getGeneration();
    manifest.upgrades_attempted = reader.getUpgradesAttempted();
    manifest.upgrade_binary = AsString(reader.getUpgradeBinary());
    manifest.process_started_unix_ns = reader.getProcessStartedUnixNs();
    manifest.blackout_start_ns = reader.getBlackoutStartNs();
    for (auto component : reader.getComponents()) {
      manifest.components.push_back({.name = AsString(component.getName()),
                                     .schema_version = component.getSchemaVersion(),
                                     .has_image = component.getHasImage(),
                                     .length = component.getLength(),
                                     .checksum = component.getChecksum()});
    }
    LIVEEXEC_RETURN_IF_ERROR(ReadFds(reader, manifest.fds));
    LIVEEXEC_RETURN_IF_ERROR(ReadLocks(reader, manifest));
    manifest.traits = ReadTraits(reader.getTraits());
    return ReadJournal(reader, manifest);
  });
  // Whatever made reading fail, an exception included: the bytes are not a manifest.
  if (!status.ok()) {
    return CodedError("E_MANIFEST", absl::StatusCode::kDataLoss, std::string(status.message()));
  }
  return manifest;
}

}  // namespace liveexec
