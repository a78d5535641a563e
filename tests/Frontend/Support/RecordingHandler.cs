using Microsoft.Win32.SafeHandles;
using Vhost.Protocol;

namespace Vhost.Frontend.Tests;

/// <summary>Answers the back-end's requests as told and remembers them.</summary>
internal sealed class RecordingHandler : IVhostUserBackendRequestHandler
{
    private readonly List<string> _seen = [];
    private int _changes;

    public bool Agrees { get; init; }

    public bool Fails { get; init; }

    public TaskCompletionSource? Holds { get; init; }

    public Func<Task>? OnAdd { get; init; }

    public int Changes => Volatile.Read(ref _changes);

    public IReadOnlyList<string> Seen => _seen;

    public async ValueTask OnConfigChangedAsync(CancellationToken cancellationToken)
    {
        Interlocked.Increment(ref _changes);
        if (Fails)
            throw new InvalidOperationException("of the application");
        if (Holds is not null)
            await Holds.Task;
    }

    public ValueTask<bool> OnIotlbAsync(VhostUserIotlb message, CancellationToken cancellationToken) => See($"iotlb {message.Type}");

    public ValueTask<bool> OnVringHostNotifierAsync(VhostUserVringArea area, SafeFileHandle? descriptor, CancellationToken cancellationToken)
    {
        descriptor?.Dispose();
        return See($"notifier {area.Ring.Index} {descriptor is not null}");
    }

    public ValueTask<bool> OnVringCallAsync(uint index, CancellationToken cancellationToken) => See($"call {index}");

    public ValueTask<bool> OnVringErrorAsync(uint index, CancellationToken cancellationToken) => See($"error {index}");

    public async ValueTask<bool> OnSharedObjectAddAsync(Guid id, CancellationToken cancellationToken)
    {
        if (OnAdd is not null)
            await OnAdd();
        return await See($"add {id}");
    }

    public ValueTask<bool> OnSharedObjectRemoveAsync(Guid id, CancellationToken cancellationToken) => See($"remove {id}");

    public ValueTask<SafeFileHandle?> OnSharedObjectLookupAsync(Guid id, CancellationToken cancellationToken)
    {
        if (Fails)
            throw new InvalidOperationException("of the application");
        return ValueTask.FromResult<SafeFileHandle?>(new EventNotifier().Descriptor);
    }

    public ValueTask<bool> OnShmemMapAsync(VhostUserShmemMap mapping, SafeFileHandle descriptor, CancellationToken cancellationToken)
    {
        descriptor.Dispose();
        return See($"map {mapping.RegionId}");
    }

    public ValueTask<bool> OnShmemUnmapAsync(VhostUserShmemMap mapping, CancellationToken cancellationToken) => See($"unmap {mapping.RegionId}");

    private ValueTask<bool> See(string what)
    {
        if (Fails)
            throw new InvalidOperationException("of the application");
        _seen.Add(what);
        return ValueTask.FromResult(Agrees);
    }
}
