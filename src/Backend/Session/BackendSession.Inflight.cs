using Vhost.Protocol;

namespace Vhost.Backend;

// The in-flight area: made here, kept by the front-end, and taken over from it before rings start.
internal sealed partial class BackendSession
{
    private InflightArea? _inflight;

    /// <summary>Makes an area that nobody has used yet. This side does not keep it: the front-end hands it in when rings are about to start.</summary>
    private Answer GetInflightArea(VhostUserInflight asked)
    {
        const string Name = "VHOST_USER_GET_INFLIGHT_FD";
        if (Unusable(Name, asked) is { } refusal)
            return refusal;

        // Asked for before the driver has chosen a format, the area must do for either.
        bool packed = _state.Features == VirtioFeatures.None ? _state.Offered.HasFlag(VirtioFeatures.RingPacked) : IsPacked;
        VhostUserInflight area = InflightLayout.Describe(asked.QueueCount, asked.QueueSize, packed);
        try
        {
            return Answer.Reply(area) with { Memory = SharedMemory.CreateSealed("vhost-user-inflight", area.MmapSize) };
        }
        catch (LinuxException e)
        {
            return Answer.Refuse(VhostUserViolation.MemoryRegionInvalid, $"{Name}: {e.Message}");
        }
    }

    private Answer SetInflightArea(VhostUserMessage message)
    {
        const string Name = "VHOST_USER_SET_INFLIGHT_FD";
        VhostUserInflight said = Decode<VhostUserInflight>(message);
        if (Unusable(Name, said) is { } refusal)
            return refusal;
        if (Array.Find(_vrings, static vring => vring.Started) is { } started)
            return RefuseStarted(Name, started);
        try
        {
            ulong most = InflightLayout.Largest(said.QueueCount, said.QueueSize);
            using SharedMemory memory = SharedMemory.MapFront(message.TakeDescriptor(0), said.MmapOffset, said.MmapSize, most, _options.RequireSealedMemory);
            InflightArea next = new(memory, said) { Stored = _options.InflightStored };
            _inflight?.Dispose();
            _inflight = next;
            BackendLog.InflightArea(_logger, _connection.Name, DescriptorInfo.FileNumber(memory.Descriptor), said.MmapSize, said.QueueCount, said.QueueSize);
            return Answer.Done;
        }
        catch (VhostUserProtocolException e)
        {
            return Answer.Refuse(e.Violation, $"{Name}: {e.Message}");
        }
        catch (Exception e) when (e is LinuxException or OverflowException or ArgumentException)
        {
            return Answer.Refuse(VhostUserViolation.MemoryRegionInvalid, $"{Name}: {e.Message}");
        }
    }

    private Answer? Unusable(string name, in VhostUserInflight area)
    {
        ushort largest = Math.Min(_device.MaxQueueSize, (ushort)32768);
        if (area.QueueCount == 0 || area.QueueCount > _vrings.Length)
            return Answer.Refuse(VhostUserViolation.BadQueueIndex, $"{name}: {area.QueueCount} queues; 1 to {_vrings.Length} are allowed");
        if (area.QueueSize == 0 || area.QueueSize > largest)
            return Answer.Refuse(VhostUserViolation.BadQueueSize, $"{name}: {area.QueueSize} entries for each queue; 1 to {largest} are allowed");
        return null;
    }

    private void ForgetInflightArea()
    {
        _inflight?.Dispose();
        _inflight = null;
    }
}
