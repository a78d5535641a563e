-- Dissector for captures of `vhost-user trace --pcap` (link type USER0).
--
--   wireshark -X lua_script:vhost-user.lua capture.pcapng      (or put it into the plugin folder)
--   tshark -X lua_script:vhost-user.lua -r capture.pcapng
--
-- Eight bytes stand before each message: version, channel, who sent it, descriptors, and the connection as a u32.
local vhost = Proto("vhost_user", "vhost-user")

local channels = { [0] = "main", [1] = "back-end", [2] = "gpu" }
local sides = { [0] = "front-end", [1] = "back-end" }

-- names:begin
local names = {
  [0] = {
    [1] = "VHOST_USER_GET_FEATURES",
    [2] = "VHOST_USER_SET_FEATURES",
    [3] = "VHOST_USER_SET_OWNER",
    [4] = "VHOST_USER_RESET_OWNER",
    [5] = "VHOST_USER_SET_MEM_TABLE",
    [6] = "VHOST_USER_SET_LOG_BASE",
    [7] = "VHOST_USER_SET_LOG_FD",
    [8] = "VHOST_USER_SET_VRING_NUM",
    [9] = "VHOST_USER_SET_VRING_ADDR",
    [10] = "VHOST_USER_SET_VRING_BASE",
    [11] = "VHOST_USER_GET_VRING_BASE",
    [12] = "VHOST_USER_SET_VRING_KICK",
    [13] = "VHOST_USER_SET_VRING_CALL",
    [14] = "VHOST_USER_SET_VRING_ERR",
    [15] = "VHOST_USER_GET_PROTOCOL_FEATURES",
    [16] = "VHOST_USER_SET_PROTOCOL_FEATURES",
    [17] = "VHOST_USER_GET_QUEUE_NUM",
    [18] = "VHOST_USER_SET_VRING_ENABLE",
    [19] = "VHOST_USER_SEND_RARP",
    [20] = "VHOST_USER_NET_SET_MTU",
    [21] = "VHOST_USER_SET_BACKEND_REQ_FD",
    [22] = "VHOST_USER_IOTLB_MSG",
    [23] = "VHOST_USER_SET_VRING_ENDIAN",
    [24] = "VHOST_USER_GET_CONFIG",
    [25] = "VHOST_USER_SET_CONFIG",
    [26] = "VHOST_USER_CREATE_CRYPTO_SESSION",
    [27] = "VHOST_USER_CLOSE_CRYPTO_SESSION",
    [28] = "VHOST_USER_POSTCOPY_ADVISE",
    [29] = "VHOST_USER_POSTCOPY_LISTEN",
    [30] = "VHOST_USER_POSTCOPY_END",
    [31] = "VHOST_USER_GET_INFLIGHT_FD",
    [32] = "VHOST_USER_SET_INFLIGHT_FD",
    [33] = "VHOST_USER_GPU_SET_SOCKET",
    [34] = "VHOST_USER_RESET_DEVICE",
    [35] = "VHOST_USER_VRING_KICK",
    [36] = "VHOST_USER_GET_MAX_MEM_SLOTS",
    [37] = "VHOST_USER_ADD_MEM_REG",
    [38] = "VHOST_USER_REM_MEM_REG",
    [39] = "VHOST_USER_SET_STATUS",
    [40] = "VHOST_USER_GET_STATUS",
    [41] = "VHOST_USER_GET_SHARED_OBJECT",
    [42] = "VHOST_USER_SET_DEVICE_STATE_FD",
    [43] = "VHOST_USER_CHECK_DEVICE_STATE",
    [44] = "VHOST_USER_GET_SHMEM_CONFIG",
    [45] = "VHOST_USER_GET_VRING_BASE_SKIP_DRAIN",
  },
  [1] = {
    [1] = "VHOST_USER_BACKEND_IOTLB_MSG",
    [2] = "VHOST_USER_BACKEND_CONFIG_CHANGE_MSG",
    [3] = "VHOST_USER_BACKEND_VRING_HOST_NOTIFIER_MSG",
    [4] = "VHOST_USER_BACKEND_VRING_CALL",
    [5] = "VHOST_USER_BACKEND_VRING_ERR",
    [6] = "VHOST_USER_BACKEND_SHARED_OBJECT_ADD",
    [7] = "VHOST_USER_BACKEND_SHARED_OBJECT_REMOVE",
    [8] = "VHOST_USER_BACKEND_SHARED_OBJECT_LOOKUP",
    [9] = "VHOST_USER_BACKEND_SHMEM_MAP",
    [10] = "VHOST_USER_BACKEND_SHMEM_UNMAP",
  },
  [2] = {
    [1] = "VHOST_USER_GPU_GET_PROTOCOL_FEATURES",
    [2] = "VHOST_USER_GPU_SET_PROTOCOL_FEATURES",
    [3] = "VHOST_USER_GPU_GET_DISPLAY_INFO",
    [4] = "VHOST_USER_GPU_CURSOR_POS",
    [5] = "VHOST_USER_GPU_CURSOR_POS_HIDE",
    [6] = "VHOST_USER_GPU_CURSOR_UPDATE",
    [7] = "VHOST_USER_GPU_SCANOUT",
    [8] = "VHOST_USER_GPU_UPDATE",
    [9] = "VHOST_USER_GPU_DMABUF_SCANOUT",
    [10] = "VHOST_USER_GPU_DMABUF_UPDATE",
    [11] = "VHOST_USER_GPU_GET_EDID",
    [12] = "VHOST_USER_GPU_DMABUF_SCANOUT2",
  },
}
-- names:end

local field = {
  channel = ProtoField.uint8("vhost_user.channel", "Channel", base.DEC, channels),
  from = ProtoField.uint8("vhost_user.from", "From", base.DEC, sides),
  descriptors = ProtoField.uint8("vhost_user.descriptors", "Descriptors"),
  connection = ProtoField.uint32("vhost_user.connection", "Connection"),
  request = ProtoField.uint32("vhost_user.request", "Request"),
  name = ProtoField.string("vhost_user.name", "Name"),
  flags = ProtoField.uint32("vhost_user.flags", "Flags", base.HEX),
  version = ProtoField.uint32("vhost_user.flags.version", "Version", base.DEC, nil, 0x3),
  reply = ProtoField.bool("vhost_user.flags.reply", "Reply", 32, nil, 0x4),
  need_reply = ProtoField.bool("vhost_user.flags.need_reply", "Needs a reply", 32, nil, 0x8),
  size = ProtoField.uint32("vhost_user.size", "Payload size"),
  payload = ProtoField.bytes("vhost_user.payload", "Payload"),
  u64 = ProtoField.uint64("vhost_user.u64", "As a u64", base.HEX),
  index = ProtoField.uint32("vhost_user.ring", "Ring"),
  number = ProtoField.uint32("vhost_user.number", "Number", base.DEC_HEX),
}
vhost.fields = field

-- Requests of the main channel whose payload is a ring and a number.
local ring_states = { [8] = true, [10] = true, [11] = true, [18] = true, [23] = true, [45] = true }

function vhost.dissector(buffer, info, tree)
  if buffer:len() < 20 then
    return 0
  end

  local channel = buffer(1, 1):uint()
  local request = buffer(8, 4):le_uint()
  local flags = buffer(12, 4):le_uint()
  local length = buffer:len() - 20
  local known = names[channel] and names[channel][request]
  local name = known or string.format("request %d", request)
  local is_reply = bit.band(flags, 0x4) ~= 0

  info.cols.protocol = "vhost-user"
  info.cols.src = sides[buffer(2, 1):uint()] or "?"
  info.cols.dst = sides[1 - buffer(2, 1):uint()] or "?"
  info.cols.info = string.format("%s%s, %d bytes", name, is_reply and " reply" or "", length)

  local top = tree:add(vhost, buffer(), string.format("vhost-user, %s", name))
  top:add(field.channel, buffer(1, 1))
  top:add(field.from, buffer(2, 1))
  top:add(field.descriptors, buffer(3, 1))
  top:add_le(field.connection, buffer(4, 4))
  top:add_le(field.request, buffer(8, 4))
  top:add(field.name, buffer(8, 4), name)
  local bits = top:add_le(field.flags, buffer(12, 4))
  bits:add_le(field.version, buffer(12, 4))
  bits:add_le(field.reply, buffer(12, 4))
  bits:add_le(field.need_reply, buffer(12, 4))
  top:add_le(field.size, buffer(16, 4))
  if length == 0 then
    return buffer:len()
  end

  local payload = top:add(field.payload, buffer(20, length))
  if length == 8 and channel == 0 and ring_states[request] and (not is_reply or request == 11 or request == 45) then
    payload:add_le(field.index, buffer(20, 4))
    payload:add_le(field.number, buffer(24, 4))
  elseif length == 8 then
    payload:add_le(field.u64, buffer(20, 8))
  end

  return buffer:len()
end

DissectorTable.get("wtap_encap"):add(wtap.USER0, vhost)
