using System.Globalization;
using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>What a device and the options of its back-end may be. A complaint names what is out of its range, the value and the range.</summary>
internal static class BackendCheck
{
    private static readonly TimeSpan _longestTime = TimeSpan.FromDays(49);

    /// <summary>The clock knows nothing shorter.</summary>
    private static readonly TimeSpan _shortestRetry = TimeSpan.FromMilliseconds(1);

    /// <summary>One for ever would lock everybody out.</summary>
    private static readonly TimeSpan _longestViolationPause = TimeSpan.FromHours(1);

    /// <exception cref="ArgumentOutOfRangeException">The device or an option is out of its range.</exception>
    /// <exception cref="ArgumentException">Two options do not go together.</exception>
    internal static void Require(IVhostUserDevice device, DeviceTraits traits, VhostUserBackendOptions options)
    {
        Require(device.QueueCount is >= 1 and <= 256, nameof(device.QueueCount), device.QueueCount, "1 to 256");
        Require(device.MaxQueueSize is >= 1 and <= 32768 && int.IsPow2(device.MaxQueueSize), nameof(device.MaxQueueSize), device.MaxQueueSize, "a power of two from 1 to 32768");
        Require(device.ConfigLength is >= 0 and <= 256, nameof(device.ConfigLength), device.ConfigLength, "0 to 256");
        if (device is ICryptoSessionDevice crypto)
        {
            Require(traits.MostCryptoSessions is >= 1 and <= 65536, nameof(crypto.MostSessions), traits.MostCryptoSessions, "1 to 65536");
            Require(
                traits.NarrowCryptoLayout is VhostUserCryptoLayout.WithOperation or VhostUserCryptoLayout.WithoutOperation,
                nameof(crypto.NarrowLayout),
                traits.NarrowCryptoLayout,
                "one of the two layouts of 632 bytes, WithOperation or WithoutOperation");
        }

        const string Sizes = nameof(ISharedMemoryDevice.SharedMemorySizes);
        Require(traits.SharedMemorySizes.Length <= VhostUserShmemConfig.MaxRegions, Sizes, traits.SharedMemorySizes.Length, "at most 256 regions");
        foreach (ulong size in traits.SharedMemorySizes)
            Require(size % (ulong)Environment.SystemPageSize == 0, Sizes, size, string.Create(CultureInfo.InvariantCulture, $"a multiple of {Environment.SystemPageSize}"));

        Require(
            options.MaxMemorySlots is >= 1 and <= VhostUserBackendOptions.MemorySlotLimit,
            nameof(options.MaxMemorySlots),
            options.MaxMemorySlots,
            string.Create(CultureInfo.InvariantCulture, $"1 to {VhostUserBackendOptions.MemorySlotLimit}"));
        Require(options.MaxMemoryBytes >= 1, nameof(options.MaxMemoryBytes), options.MaxMemoryBytes, "1 or more");
        Require(Enum.IsDefined(options.Dispatch), nameof(options.Dispatch), options.Dispatch, $"one of {string.Join(", ", Enum.GetNames<QueueDispatch>())}");
        Require(
            (options.AdditionalProtocolFeatures & ~OfferedBits.MayBeAdded) == 0,
            nameof(options.AdditionalProtocolFeatures),
            FeatureNames.Describe(options.AdditionalProtocolFeatures),
            $"of {FeatureNames.Describe(OfferedBits.OnRequest)}; what else there is the back-end offers by itself");
        Require(
            (options.AdditionalFeatures & ~OfferedBits.TransportBitsOnRequest) == 0,
            nameof(options.AdditionalFeatures),
            FeatureNames.Describe(options.AdditionalFeatures),
            $"of {FeatureNames.Describe(OfferedBits.TransportBitsOnRequest)}; what else there is the device offers");
        Require(
            options.IotlbEntries is >= 1 and <= VhostUserBackendOptions.IotlbEntryLimit,
            nameof(options.IotlbEntries),
            options.IotlbEntries,
            string.Create(CultureInfo.InvariantCulture, $"1 to {VhostUserBackendOptions.IotlbEntryLimit}"));
        Require(
            options.IotlbRetry >= _shortestRetry && options.IotlbRetry <= _longestTime,
            nameof(options.IotlbRetry),
            options.IotlbRetry,
            string.Create(CultureInfo.InvariantCulture, $"{_shortestRetry.TotalMilliseconds} ms to {_longestTime.TotalDays} days"));
        RequireTime(options.DrainTimeout, nameof(options.DrainTimeout), orInfinite: false);
        RequireTime(options.SendTimeout, nameof(options.SendTimeout));
        RequireTime(options.MessageTimeout, nameof(options.MessageTimeout));
        RequireTime(options.FirstMessageTimeout, nameof(options.FirstMessageTimeout));
        RequireTime(options.IdleTimeout, nameof(options.IdleTimeout));
        RequireTime(options.DeviceStateTimeout, nameof(options.DeviceStateTimeout));
        Require(options.MaxDeviceStateSize is >= 1 and < long.MaxValue, nameof(options.MaxDeviceStateSize), options.MaxDeviceStateSize, "1 or more");
        RequireTime(options.PageTimeout, nameof(options.PageTimeout));
        Require(
            options.ViolationPause >= TimeSpan.Zero && options.ViolationPause <= _longestViolationPause,
            nameof(options.ViolationPause),
            options.ViolationPause,
            $"{TimeSpan.Zero} to {_longestViolationPause}");
        options.Retry?.Validate();
        if (options.AdditionalFeatures.HasFlag(VirtioFeatures.AccessPlatform) && options.AdditionalProtocolFeatures.HasFlag(VhostUserProtocolFeatures.PageFault))
            throw new ArgumentException("ACCESS_PLATFORM and PAGEFAULT do not go together: a translation says where a page is before it has arrived.", nameof(options));
        RequireThreads(device, options);
    }

    /// <summary>Who serves the queues is there, and nothing is set that would have no effect.</summary>
    private static void RequireThreads(IVhostUserDevice device, VhostUserBackendOptions options)
    {
        HashSet<QueueDispatch> ways = [.. Enumerable.Range(0, device.QueueCount).Select(queue => device.DispatchOf(queue, options.Dispatch))];
        string how = $"the queues of {device.GetType().Name} are served with {string.Join(" and ", ways.Order())}";
        if (ways.Contains(QueueDispatch.Application) && device is not IApplicationServedDevice)
            throw new ArgumentException($"Dispatch is {options.Dispatch}: {device.GetType().Name} does not implement IApplicationServedDevice, so nobody would serve a queue with Application.");
        if (ways.Contains(QueueDispatch.SharedThreads) && options.Threads is null)
            throw new ArgumentException($"Threads are missing: {how}.");
        if (options.Threads is not null && !ways.Contains(QueueDispatch.SharedThreads))
            throw new ArgumentException($"Threads have no effect: {how}, and only SharedThreads takes them.");
        if (options.ThreadOf is not null && options.Threads is null)
            throw new ArgumentException("ThreadOf has no effect: there are no Threads to choose from.");
        if (options.Processors.Count > 0 && !ways.Overlaps([QueueDispatch.DedicatedThread, QueueDispatch.BusyPoll]))
            throw new ArgumentException($"Processors have no effect: {how}, and only DedicatedThread and BusyPoll take them; QueueThreads has its own.");
        ProcessorCheck.Require(options.Processors, nameof(options.Processors));
    }

    private static void RequireTime(TimeSpan time, string name, bool orInfinite = true) => Require(
        (time > TimeSpan.Zero && time <= _longestTime) || (orInfinite && time == Timeout.InfiniteTimeSpan),
        name,
        time,
        string.Create(CultureInfo.InvariantCulture, $"more than 0 and at most {_longestTime.TotalDays} days{(orInfinite ? ", or infinite" : "")}"));

    private static void Require(bool holds, string name, object value, string allowed)
    {
        if (!holds)
            throw new ArgumentOutOfRangeException(name, value, string.Create(CultureInfo.InvariantCulture, $"{name} is {value}: must be {allowed}."));
    }
}
