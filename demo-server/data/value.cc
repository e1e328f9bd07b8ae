#include "demo-server/data/value.h"

#include <algorithm>

#include "demo-server/protocol/number.h"

namespace liveexec::demo {
namespace {

// Beyond these Redis's defaults leave the compact encodings.
constexpr size_t kCompactEntries = 128;
constexpr size_t kCompactBytes = 64;
constexpr size_t kIntegerSetEntries = 512;
constexpr size_t kEmbeddedBytes = 44;

bool IsInteger(std::string_view text) {
  int64_t unused;
  return ParseInteger(text, &unused);
}

}  // namespace

std::string_view TypeName(Type type) {
  switch (type) {
    case Type::kString:
      return "string";
    case Type::kList:
      return "list";
    case Type::kSet:
      return "set";
    case Type::kSortedSet:
      return "zset";
    case Type::kHash:
      return "hash";
  }
  return "none";
}

const Bytes* Hash::Get(std::string_view name) const {
  const Field* field = fields_.Find(name);
  return field == nullptr ? nullptr : &field->value;
}

bool Hash::Set(std::string_view name, std::string_view value) {
  if (name.size() > kCompactBytes || value.size() > kCompactBytes) compact_ = false;
  const uint64_t hash = fields_.HashOf(name);
  if (Field* field = fields_.Find(name, hash); field != nullptr) {
    field->value.assign(value);
    return false;
  }
  fields_.Insert(name, hash, value);
  if (fields_.size() > kCompactEntries) compact_ = false;
  return true;
}

bool Hash::Erase(std::string_view name) {
  Field* field = fields_.Find(name);
  if (field == nullptr) return false;
  fields_.Erase(field);
  return true;
}

bool Set::Add(std::string_view member) {
  const uint64_t hash = nodes_.HashOf(member);
  if (nodes_.Find(member, hash) != nullptr) return false;
  nodes_.Insert(member, hash);
  if (integers_ && (nodes_.size() > kIntegerSetEntries || !IsInteger(member))) integers_ = false;
  return true;
}

bool Set::Erase(std::string_view member) {
  SetNode* node = nodes_.Find(member);
  if (node == nullptr) return false;
  nodes_.Erase(node);
  return true;
}

std::vector<std::string_view> Set::Members() const {
  std::vector<std::string_view> members;
  members.reserve(size());
  for (const SetNode* node : nodes_.nodes()) members.push_back(node->key());
  if (integers_) {
    auto number = [](std::string_view text) {
      int64_t value = 0;
      ParseInteger(text, &value);
      return value;
    };
    std::sort(members.begin(), members.end(),
              [&](std::string_view a, std::string_view b) { return number(a) < number(b); });
  }
  return members;
}

bool SortedSet::Set(std::string_view member, double score) {
  if (member.size() > kCompactBytes) compact_ = false;
  const uint64_t hash = members_.HashOf(member);
  if (Member* known = members_.Find(member, hash); known != nullptr) {
    if (known->score != score) {
      index_.Erase(known);
      known->score = score;
      index_.Insert(known);
    }
    return false;
  }
  Member* added = members_.Insert(member, hash, score);
  try {
    index_.Insert(added);
  } catch (const std::bad_alloc&) {
    members_.Erase(added);
    throw;
  }
  if (members_.size() > kCompactEntries) compact_ = false;
  return true;
}

bool SortedSet::Erase(std::string_view member) {
  Member* known = members_.Find(member);
  if (known == nullptr) return false;
  index_.Erase(known);
  members_.Erase(known);
  return true;
}

void SortedSet::EraseRange(size_t rank, size_t count) {
  std::vector<Member*> erased;
  erased.reserve(count);
  index_.ForRange(rank, count, /*reverse=*/false,
                  [&](Member* member) { erased.push_back(member); });
  for (Member* member : erased) {
    index_.Erase(member);
    members_.Erase(member);
  }
}

Value::Value(Type type, uint64_t seed) {
  switch (type) {
    case Type::kString:
      break;
    case Type::kList:
      data_ = MakeStored<List>();
      break;
    case Type::kSet:
      data_ = MakeStored<Set>(seed);
      break;
    case Type::kSortedSet:
      data_ = MakeStored<SortedSet>(seed);
      break;
    case Type::kHash:
      data_ = MakeStored<Hash>(seed);
      break;
  }
}

std::string_view Value::Encoding() const {
  switch (type()) {
    case Type::kString: {
      const Bytes& bytes = *As<Bytes>();
      if (edited_) return "raw";
      if (IsInteger(bytes)) return "int";
      return bytes.size() <= kEmbeddedBytes ? "embstr" : "raw";
    }
    case Type::kList:
      return "quicklist";
    case Type::kSet:
      return As<Set>()->integers() ? "intset" : "hashtable";
    case Type::kSortedSet:
      return As<SortedSet>()->compact() ? "listpack" : "skiplist";
    case Type::kHash:
      return As<Hash>()->compact() ? "listpack" : "hashtable";
  }
  return "raw";
}

Value Value::Copy(uint64_t seed) const {
  if (type() == Type::kString) {
    Value copy(*As<Bytes>());
    copy.edited_ = edited_;
    return copy;
  }
  Value copy(type(), seed);
  if (type() == Type::kList) {
    *copy.As<List>() = *As<List>();
  } else if (type() == Type::kSet) {
    copy.As<Set>()->Reserve(As<Set>()->size());
    for (const SetNode* node : As<Set>()->nodes().nodes()) copy.As<Set>()->Add(node->key());
  } else if (type() == Type::kSortedSet) {
    for (const Member* member : As<SortedSet>()->members().nodes()) {
      copy.As<SortedSet>()->Set(member->key(), member->score);
    }
  } else {
    for (const Field* field : As<Hash>()->fields().nodes()) {
      copy.As<Hash>()->Set(field->key(), field->value);
    }
  }
  return copy;
}

bool Value::Empty() const {
  switch (type()) {
    case Type::kString:
      return false;
    case Type::kList:
      return As<List>()->empty();
    case Type::kSet:
      return As<Set>()->size() == 0;
    case Type::kSortedSet:
      return As<SortedSet>()->size() == 0;
    case Type::kHash:
      return As<Hash>()->size() == 0;
  }
  return false;
}

}  // namespace liveexec::demo
