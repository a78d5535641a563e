using System.Text.Json;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests;

/// <summary>The built command, run the way a user runs it.</summary>
internal static class ToolProcess
{
    /// <summary>The command as the solution builds it, in the configuration of these tests.</summary>
    internal static string Assembly { get; } = RepositoryRoot.File("src", "Tool", "bin", Configuration, "net10.0", "vhost-user.dll");

    private static string Configuration => new DirectoryInfo(AppContext.BaseDirectory).Parent!.Name;

    /// <summary>Signals have their usual effect, also where the tests run under <c>nohup</c> or in the background.</summary>
    internal static ChildProcess Start(params IEnumerable<string> arguments) => ChildProcess.Start("env", ["--default-signal", "dotnet", Assembly, .. arguments]);

    /// <summary>Runs a line of the shell, with the usual effect of signals.</summary>
    internal static ChildProcess StartShell(string line) => ChildProcess.Start("env", "--default-signal", "sh", "-c", line);

    internal static Task<ChildProcess.Outcome> RunAsync(params IEnumerable<string> arguments) => ChildProcess.RunAsync("dotnet", arguments.Prepend(Assembly));

    /// <summary>Starts <c>serve blk</c> and returns when it serves.</summary>
    internal static async Task<ChildProcess> ServeAsync(params IEnumerable<string> arguments)
    {
        ChildProcess server = Start(["serve", "blk", .. arguments]);
        try
        {
            await server.ErrorLineAsync("serving");
            return server;
        }
        catch
        {
            await server.DisposeAsync();
            throw;
        }
    }

    /// <summary>Runs a command that must succeed and print one JSON object and nothing else.</summary>
    internal static async Task<JsonElement> JsonAsync(params IEnumerable<string> arguments)
    {
        ChildProcess.Outcome outcome = await RunAsync([.. arguments, "--json"]);
        outcome.ExitCode.Should().Be(0, string.Join(" | ", outcome.Errors));
        return Parse(outcome);
    }

    internal static JsonElement Parse(ChildProcess.Outcome outcome)
    {
        outcome.Output.Should().ContainSingle("--json prints exactly one object");
        using JsonDocument document = JsonDocument.Parse(outcome.Output[0]);
        document.RootElement.ValueKind.Should().Be(JsonValueKind.Object);
        return document.RootElement.Clone();
    }

    /// <summary>The command ended with exit code 1 after it had said what it was waiting for, if it had waited long. Returns its last words.</summary>
    internal static string ShouldGiveUp(this ChildProcess.Outcome outcome)
    {
        outcome.ExitCode.Should().Be(1, string.Join(" | ", outcome.Errors));
        outcome.Errors.SkipLast(1).Should().NotContain(line => !line.StartsWith("vhost-user: waiting for", StringComparison.Ordinal));
        return outcome.Errors[^1];
    }

    /// <summary>The command failed with an exit code and said so in one line on standard error.</summary>
    internal static string ShouldFail(this ChildProcess.Outcome outcome, int exitCode)
    {
        outcome.ExitCode.Should().Be(exitCode, string.Join(" | ", outcome.Errors));
        outcome.Output.Should().BeEmpty();
        outcome.Errors.Should().ContainSingle();
        return outcome.Errors[0];
    }
}
