using Vhost.Protocol;

namespace Vhost.Backend;

// Configuration space. An error of GET_CONFIG is a reply without payload.
internal sealed partial class BackendSession
{
    private Answer GetConfig(VhostUserMessage message)
    {
        const string Name = "VHOST_USER_GET_CONFIG";
        VhostUserConfig said = Decode<VhostUserConfig>(message);
        if ((ConfigProblem(said, message.Payload.Length) ?? UnknownFlags(said)) is { } problem)
            return ConfigError($"{Name}: {problem}");
        byte[] reply = new byte[VhostUserConfig.HeaderSize + (int)said.Size];
        said.Write(reply);
        bool read = false;
        bool called = TryCallDevice(() => read = _device.TryReadConfig(said.Offset, reply.AsSpan(VhostUserConfig.HeaderSize)), out string? failure);
        if (called && read)
            return Answer.Reply(reply);
        return ConfigError($"{Name}: the device does not give {said.Size} bytes at offset {said.Offset}{failure}");
    }

    private Answer SetConfig(VhostUserMessage message)
    {
        const string Name = "VHOST_USER_SET_CONFIG";
        VhostUserConfig said = Decode<VhostUserConfig>(message);
        if (ConfigProblem(said, message.Payload.Length) is { } problem)
            return Answer.Refuse(VhostUserViolation.BadConfigRange, $"{Name}: {problem}");
        if (UnknownFlags(said) is { } unknown)
            return Answer.Refuse(VhostUserViolation.BadValue, $"{Name}: {unknown}");
        if (RefuseWhileTransferring(Name) is { } wait)
            return wait;
        byte[] source = message.Payload.Slice(VhostUserConfig.HeaderSize, (int)said.Size).ToArray();
        bool taken = false;
        // 2 is migration in the numbering of rust-vmm and crosvm.
        bool called = TryCallDevice(
            () => taken = said.Flags == 0 ? _device.TryWriteConfig(said.Offset, source) : _device.TryRestoreConfig(said.Offset, source),
            out string? failure);
        if (called && taken)
            return Answer.Done;
        return Answer.Refuse(
            VhostUserViolation.BadConfigRange,
            $"{Name}: the device does not take {said.Size} bytes at offset {said.Offset} with flags {(uint)said.Flags}{failure}");
    }

    private string? ConfigProblem(in VhostUserConfig said, int payloadLength)
    {
        if (said.Size is 0 or > VhostUserConfig.MaxWindow)
            return $"size {said.Size} is not from 1 to {VhostUserConfig.MaxWindow}";
        if (payloadLength != VhostUserConfig.HeaderSize + said.Size)
            return $"the payload has {payloadLength} bytes, {VhostUserConfig.HeaderSize + said.Size} expected for size {said.Size}";
        ulong length = (ulong)_device.ConfigLength;
        return (ulong)said.Offset + said.Size > length
            ? $"offset {said.Offset} and size {said.Size} exceed the {length} bytes of configuration space"
            : null;
    }

    /// <summary>What flags mean is said of writes alone. Front-ends of rust-vmm and crosvm set one of theirs, 1 or 2, in a read too.</summary>
    private static string? UnknownFlags(in VhostUserConfig said) =>
        (uint)said.Flags > 2 ? $"unknown flags 0x{(uint)said.Flags:x}, 0 (driver) and 1 (migration) are defined" : null;

    private Answer ConfigError(string explanation)
    {
        LogRefused(explanation);
        return Answer.Reply(ReadOnlyMemory<byte>.Empty);
    }
}
