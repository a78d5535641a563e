using Microsoft.Win32.SafeHandles;
using Vhost.Protocol;

namespace Vhost.Proxy;

/// <summary>A message between two ends: what of it goes on. It owns its descriptors.</summary>
internal sealed class PassingMessage : IDisposable
{
    private readonly List<SafeFileHandle> _descriptors = [];
    private readonly List<EventNotifier> _added = [];

    /// <summary>Takes over what was received, which may be disposed then.</summary>
    internal PassingMessage(VhostUserMessage message)
    {
        Header = message.Header;
        Payload = message.Payload.ToArray();
        for (int i = 0; i < message.DescriptorCount; i++)
            _descriptors.Add(message.TakeDescriptor(i));
    }

    internal VhostUserHeader Header { get; set; }

    /// <summary>Whoever is shown the message has the same bytes: a change is another payload.</summary>
    internal ReadOnlyMemory<byte> Payload { get; set; }

    internal IReadOnlyList<SafeFileHandle> Descriptors => _descriptors;

    /// <summary>Puts another descriptor in the place of one, which stays the caller's.</summary>
    internal SafeFileHandle Replace(int index, SafeFileHandle descriptor)
    {
        SafeFileHandle old = _descriptors[index];
        _descriptors[index] = descriptor;
        return old;
    }

    internal void TakeDescriptors()
    {
        foreach (SafeFileHandle descriptor in _descriptors)
            descriptor.Dispose();
        _descriptors.Clear();
        foreach (EventNotifier added in _added)
            added.Dispose();
        _added.Clear();
    }

    internal void AddDescriptors(uint count)
    {
        for (uint i = 0; i < count && _descriptors.Count + _added.Count < VhostUserConnection.MaxDescriptors; i++)
            _added.Add(new EventNotifier());
    }

    internal async ValueTask SendAsync(VhostUserConnection to, int times, CancellationToken stop)
    {
        for (int i = 0; i < times; i++)
            await to.SendAsync(Header, Payload, AllDescriptors(), stop).ConfigureAwait(false);
    }

    /// <summary>Sends the beginning alone; at least one byte.</summary>
    internal ValueTask SendCutAsync(VhostUserConnection to, int bytes, CancellationToken stop)
    {
        byte[] whole = new byte[VhostUserHeader.EncodedSize + Payload.Length];
        Header.Write(whole);
        Payload.Span.CopyTo(whole.AsSpan(VhostUserHeader.EncodedSize));
        return to.SendRawAsync(whole.AsMemory(0, Math.Min(bytes, whole.Length)), AllDescriptors(), stop);
    }

    public void Dispose() => TakeDescriptors();

    private ReadOnlyMemory<System.Runtime.InteropServices.SafeHandle> AllDescriptors() =>
        (System.Runtime.InteropServices.SafeHandle[])[.. _descriptors, .. _added.Select(static added => added.Descriptor)];
}
