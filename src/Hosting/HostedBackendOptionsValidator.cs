using System.Globalization;
using Microsoft.Extensions.Options;

namespace Vhost.Backend.Hosting;

/// <summary>Names each option that is out of its range, with value and range.</summary>
internal sealed class HostedBackendOptionsValidator(string backend) : IValidateOptions<HostedBackendOptions>
{
    private const int MaxThreads = 1024;
    private static readonly TimeSpan _longest = TimeSpan.FromDays(1);
    private static readonly TimeSpan _longestPause = TimeSpan.FromHours(1);

    public ValidateOptionsResult Validate(string? name, HostedBackendOptions options)
    {
        if (name != backend)
            return ValidateOptionsResult.Skip;
        string[] complaints = [.. Sockets(options).Concat(Threads(options)).Concat(Limits(options)).Select(complaint => $"Back-end '{backend}': {complaint}")];
        return complaints.Length == 0 ? ValidateOptionsResult.Success : ValidateOptionsResult.Fail(complaints);
    }

    private static IEnumerable<string> Sockets(HostedBackendOptions options)
    {
        if (options.SocketPath is { Length: 0 })
            yield return "SocketPath '': must name a path.";
        if (options.Client && options.SocketPath is null)
            yield return "Client true: needs SocketPath, where the front-end listens.";
        if (options.Client && (options.SocketMode is not null || options.SocketGroup is not null))
            yield return $"Client true: needs no {string.Join(" and ", SocketFile(options))}, which is about a socket file of our own: remove it, or give it an empty value.";
        if (options.Retry is { } retry && (retry.Delay <= TimeSpan.Zero || retry.Delay > retry.LongestDelay || retry.LongestDelay > _longestPause))
            yield return $"Retry:Delay {retry.Delay}, Retry:LongestDelay {retry.LongestDelay}: must be more than 00:00:00, in this order, at most {_longestPause}.";
        if (options.Retry is { } until && until.Limit < TimeSpan.Zero && until.Limit != Timeout.InfiniteTimeSpan)
            yield return $"Retry:Limit {until.Limit}: must be 00:00:00 or more, or infinite.";
    }

    /// <summary>What Backend, which is code, changes about threads is not known here; the back-end itself checks that.</summary>
    private static IEnumerable<string> Threads(HostedBackendOptions options)
    {
        if (!Enum.IsDefined(options.Dispatch))
            yield return string.Create(CultureInfo.InvariantCulture, $"Dispatch {(int)options.Dispatch}: must be one of {string.Join(", ", Enum.GetNames<QueueDispatch>())}.");
        if (options.SharedThreads is < 1 or > MaxThreads)
            yield return string.Create(CultureInfo.InvariantCulture, $"SharedThreads {options.SharedThreads}: must be 1 to {MaxThreads}.");
        if (options.SharedThreads is not null && options.Dispatch != QueueDispatch.SharedThreads)
            yield return string.Create(CultureInfo.InvariantCulture, $"SharedThreads {options.SharedThreads}: needs Dispatch SharedThreads, but that is {options.Dispatch}.");
        if (options.SharedThreads is null && options.Dispatch == QueueDispatch.SharedThreads && options.Backend is null)
            yield return "Dispatch SharedThreads: needs SharedThreads, how many there are, or threads that Backend sets in code.";
        if (options.SharedThreads is null && options.PollSharedThreads)
            yield return "PollSharedThreads true: needs SharedThreads, how many there are.";
        if (options.Processors.Count > 0 && options.Dispatch is QueueDispatch.Async or QueueDispatch.Application && options.Backend is null)
            yield return $"Processors {string.Join(',', options.Processors)}: needs Dispatch DedicatedThread, BusyPoll or SharedThreads, but that is {options.Dispatch}, which has no threads to bind.";
        else if (options.Processors.Count > 0 && QueueThreads.AllowedProcessors is { Count: > 0 } allowed && options.Processors.Except(allowed).ToArray() is { Length: > 0 } wrong)
            yield return $"Processors {string.Join(',', options.Processors)}: this process cannot run on {string.Join(',', wrong)}; must be of {string.Join(',', allowed)}.";
    }

    private static IEnumerable<string> SocketFile(HostedBackendOptions options)
    {
        if (options.SocketMode is not null)
            yield return nameof(options.SocketMode);
        if (options.SocketGroup is not null)
            yield return nameof(options.SocketGroup);
    }

    private static IEnumerable<string> Limits(HostedBackendOptions options)
    {
        if (options.DrainTimeout <= TimeSpan.Zero || options.DrainTimeout > _longest)
            yield return $"DrainTimeout {options.DrainTimeout}: must be more than 00:00:00, at most {_longest}.";
        if (options.MaxMemorySlots is < 1 or > VhostUserBackendOptions.MemorySlotLimit)
            yield return string.Create(CultureInfo.InvariantCulture, $"MaxMemorySlots {options.MaxMemorySlots}: must be 1 to {VhostUserBackendOptions.MemorySlotLimit}.");
        foreach ((string key, TimeSpan time) in Times(options).Where(static one => one.Time != Timeout.InfiniteTimeSpan && (one.Time <= TimeSpan.Zero || one.Time > _longest)))
            yield return $"{key} {time}: must be more than 00:00:00, at most {_longest}, or infinite.";
        if (options.ViolationPause < TimeSpan.Zero || options.ViolationPause > _longestPause)
            yield return $"ViolationPause {options.ViolationPause}: must be 00:00:00 to {_longestPause}.";
    }

    private static IEnumerable<(string Key, TimeSpan Time)> Times(HostedBackendOptions options) =>
    [
        (nameof(options.IdleTimeout), options.IdleTimeout),
        (nameof(options.FirstMessageTimeout), options.FirstMessageTimeout),
        (nameof(options.MessageTimeout), options.MessageTimeout),
        (nameof(options.SendTimeout), options.SendTimeout),
    ];
}
