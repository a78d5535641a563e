using System.Globalization;
using System.Text.Json;

namespace Vhost.Bench.Compare;

/// <summary>Runs of packet traffic between two processes. Every figure is in millions of packets a second, counted where the packets arrive.</summary>
internal static class PacketRuns
{
    private const double Million = 1e6;

    /// <summary>Seconds that our side would go on for if it was not told to end.</summary>
    private const int Spare = 20;

    /// <summary>Until the runtime has compiled the loops for good; only our own processes need it.</summary>
    private static readonly TimeSpan _warmUp = TimeSpan.FromSeconds(1);

    /// <summary>Until the rings are full and the caches warm.</summary>
    private static readonly TimeSpan _peerWarmUp = TimeSpan.FromSeconds(0.3);

    private static readonly TimeSpan _deadline = TimeSpan.FromSeconds(30);

    /// <summary>Our front-end and our back-end.</summary>
    internal static async Task<Sample> OursAsync(Workbench bench, PacketTraffic traffic)
    {
        string socket = bench.NewPath(".s");
        int seconds = bench.Options.Seconds;

        // The receiver measures; the sender goes on until the receiver has gone.
        await using Ours backend = traffic.StartOurs(bench, frontend: false, socket, traffic.FrontendSends ? seconds : seconds + Spare);
        await using Ours frontend = traffic.StartOurs(bench, frontend: true, socket, traffic.FrontendSends ? seconds + Spare : seconds);
        (Ours receiver, Ours sender) = traffic.FrontendSends ? (backend, frontend) : (frontend, backend);
        Task<JsonElement> receiving = receiver.ResultAsync(_deadline + TimeSpan.FromSeconds(seconds));
        Task<JsonElement> sending = sender.ResultAsync(_deadline + _deadline);

        // Whoever fails first says why; the other one would wait for it.
        await await Task.WhenAny(receiving, sending);
        JsonElement received = Checked(receiver, await receiving, traffic, receives: true);
        if (received.Figure("astray") > 0)
            throw new BenchException($"'{receiver.Command}' received packets out of their order: some were lost, or came twice.");
        JsonElement sent = await sending;
        return new Sample(received.Figure("mpps"), $"{backend.Command} & {frontend.Command}")
        {
            EmptyPolls = received.FigureOrNull("empty_polls_percent"),
            Allocated = Math.Max(received.Figure("allocated_bytes_per_packet"), sent.Figure("allocated_bytes_per_packet")),
            Features = Features(received),
            RingFeatures = VirtioBits.OfRings(Features(received).Split(' ')),
        };
    }

    /// <summary>One end ours, the other DPDK's, whose counters are read.</summary>
    internal static async Task<Sample> MixedAsync(Workbench bench, PacketTraffic traffic, bool oursIsFrontend)
    {
        string socket = bench.NewPath(".s");
        int seconds = bench.Options.Seconds;
        TestpmdCommand command = traffic.Peer(bench, oursIsFrontend ? TestpmdRole.Backend : TestpmdRole.Frontend, socket);
        Ours? ours = oursIsFrontend ? null : traffic.StartOurs(bench, frontend: false, socket, seconds + Spare);
        try
        {
            if (ours is not null)
                await ours.ListensAsync(socket);
            await using Testpmd peer = await StartAsync(bench, command);
            ours ??= traffic.StartOurs(bench, frontend: true, socket, seconds + Spare);
            await TrafficAsync(peer, ours);
            double rate = await RateAsync(peer, _warmUp, TimeSpan.FromSeconds(seconds));
            JsonElement result = Checked(ours, await ours.StopAsync(), traffic, receives: oursIsFrontend != traffic.FrontendSends);
            Check(peer, traffic);
            string features = Features(peer);
            await peer.QuitAsync();
            return new Sample(rate, ours.Command)
            {
                EmptyPolls = result.FigureOrNull("empty_polls_percent"),
                Allocated = result.Figure("allocated_bytes_per_packet"),
                Features = $"{Features(result)}; testpmd {features}",
                RingFeatures = VirtioBits.OfRings(features.Split(' ')),
            };
        }
        finally
        {
            if (ours is not null)
                await ours.DisposeAsync();
        }
    }

    /// <summary>Both ends DPDK's.</summary>
    /// <param name="bench">Where.</param>
    /// <param name="traffic">What.</param>
    /// <param name="readFrontend">Whose counters are read; the receiver's when null.</param>
    internal static async Task<Sample> PeersAsync(Workbench bench, PacketTraffic traffic, bool? readFrontend = null)
    {
        string socket = bench.NewPath(".s");
        await using Testpmd backend = await StartAsync(bench, traffic.Peer(bench, TestpmdRole.Backend, socket));
        await using Testpmd frontend = await StartAsync(bench, traffic.Peer(bench, TestpmdRole.Frontend, socket));
        Testpmd read = readFrontend ?? !traffic.FrontendSends ? frontend : backend;
        double rate = await RateAsync(read, _peerWarmUp, TimeSpan.FromSeconds(bench.Options.Seconds));
        Check(frontend, traffic);
        string features = Features(read);
        await frontend.QuitAsync();
        await backend.QuitAsync();
        return new Sample(rate, $"{backend.Command.CommandLine} & {frontend.Command.CommandLine}")
        {
            Features = $"{features}, {string.Join(", ", frontend.Paths)}",
            RingFeatures = VirtioBits.OfRings(features.Split(' ')),
        };
    }

    private static async Task<Testpmd> StartAsync(Workbench bench, TestpmdCommand command)
    {
        bench.Log(command.CommandLine);
        try
        {
            return await Testpmd.StartAsync(command);
        }
        catch (System.ComponentModel.Win32Exception)
        {
            throw new BenchException($"{TestpmdCommand.Program} is not installed (Debian package {TestpmdCommand.Package}).");
        }
        catch (TimeoutException failure)
        {
            throw new BenchException($"'{command.CommandLine}' did not start to forward: {failure.Message}");
        }
    }

    /// <summary>Waits for the first packets.</summary>
    private static async Task TrafficAsync(Testpmd peer, Ours ours)
    {
        using CancellationTokenSource limit = new(_deadline);
        for (TestpmdStatistics figures = await peer.StatisticsAsync(); figures.RxPackets + figures.TxPackets == 0; figures = await peer.StatisticsAsync())
        {
            if (limit.IsCancellationRequested || ours.HasExited)
                throw new BenchException($"No packet between testpmd and '{ours.Command}'{ours.Ending}.");
            await Task.Delay(20);
        }
    }

    /// <summary>The rate that testpmd's own clock gives for an interval; one direction is idle.</summary>
    private static async Task<double> RateAsync(Testpmd testpmd, TimeSpan warmUp, TimeSpan interval)
    {
        await Task.Delay(warmUp);
        await testpmd.StatisticsAsync();
        await Task.Delay(interval);
        TestpmdStatistics figures = await testpmd.StatisticsAsync();
        return (figures.RxPacketsPerSecond + figures.TxPacketsPerSecond) / Million;
    }

    /// <summary>DPDK's driver did what was asked for.</summary>
    private static void Check(Testpmd peer, PacketTraffic traffic)
    {
        string wanted = traffic.FrontendSends ? traffic.Ring.SendPath : traffic.Ring.ReceivePath;
        if (peer.Command.Role == TestpmdRole.Frontend && !peer.Paths.Contains(wanted, StringComparer.Ordinal))
            throw new BenchException($"testpmd does not use its path '{wanted}' but: {string.Join(", ", peer.Paths)}.");
    }

    /// <summary>Every packet that our side looked at was what it should be, and had the size that it should have. DPDK's receiver does not look at what it receives.</summary>
    private static JsonElement Checked(Ours ours, JsonElement result, PacketTraffic traffic, bool receives)
    {
        if (receives && result.Figure("verified") == 0)
            throw new BenchException($"'{ours.Command}' has looked at no packet.");
        if (result.Figure("bytes") != result.Figure("packets") * traffic.Size)
            throw new BenchException(string.Create(CultureInfo.InvariantCulture, $"'{ours.Command}': {result.Figure("bytes")} bytes in {result.Figure("packets")} packets of {traffic.Size}."));
        if (result.FigureOrNull("bad") is > 0 and { } bad)
            throw new BenchException(string.Create(CultureInfo.InvariantCulture, $"'{ours.Command}' received {bad} packets that were not what was sent."));
        return result;
    }

    private static string Features(JsonElement result) => result.TryGetProperty("features", out JsonElement features) ? features.ToString() : "";

    private static string Features(Testpmd testpmd) => testpmd.NegotiatedFeatures is { } bits ? string.Join(' ', VirtioBits.Names(bits)) : "";
}
