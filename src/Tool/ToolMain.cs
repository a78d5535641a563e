using System.CommandLine;
using System.CommandLine.Parsing;
using System.Runtime.InteropServices;

namespace Vhost.Tool;

/// <summary>
/// The way from a command line to an exit code: 0 for success, 2 for a command line that makes no sense, 1 for everything else that went wrong.
/// Each failure is one line on standard error.
/// </summary>
internal static class ToolMain
{
    private const int Success = 0;
    private const int Failure = 1;
    private const int WrongCommandLine = 2;

    /// <summary>The name under which this program was started: of a link, where it was one; empty where the system does not tell.</summary>
    internal static string CalledBy()
    {
        try
        {
            return File.ReadAllText("/proc/self/cmdline").Split('\0')[0];
        }
        catch (Exception failure) when (failure is IOException or UnauthorizedAccessException)
        {
            return "";
        }
    }

    /// <summary>Does what the command line says.</summary>
    /// <param name="arguments">The words of the command line.</param>
    /// <param name="program">What the program was called by, which may be a link named after a device.</param>
    internal static async Task<int> RunAsync(string[] arguments, string program = "")
    {
        if (ServedDevice.ByProgram(program) is { } device)
            arguments = [ToolCommand.ServeName, device.Command, .. arguments];
        if (ToolCommand.CapabilitiesAskedFor(arguments) is { } capabilities)
        {
            ToolOutput.PrintJson(capabilities, ToolJson.Default.CapabilitiesReport);
            return Success;
        }

        ParseResult line = Parse(arguments);
        if (line.Errors.Count > 0)
        {
            ToolOutput.PrintError($"{Clearest(line.Errors)} See '{NameOf(line.CommandResult)} --help'.");
            return WrongCommandLine;
        }

        using CancellationTokenSource stop = new();
        using PosixSignalRegistration terminate = CancelOn(PosixSignal.SIGTERM, stop);
        using PosixSignalRegistration interrupt = CancelOn(PosixSignal.SIGINT, stop);
        return await InvokeAsync(line, stop.Token);
    }

    internal static ParseResult Parse(string[] arguments) =>
        ToolCommand.Build().Parse(arguments, new ParserConfiguration { EnablePosixBundling = false, ResponseFileTokenReplacer = null });

    private static async Task<int> InvokeAsync(ParseResult line, CancellationToken stop)
    {
        try
        {
            InvocationConfiguration configuration = new() { EnableDefaultExceptionHandler = false, ProcessTerminationTimeout = null };
            return await line.InvokeAsync(configuration, stop);
        }
        catch (OperationCanceledException) when (stop.IsCancellationRequested)
        {
            ToolOutput.PrintError("Interrupted.");
        }
        catch (Exception failure) when (failure is IOException or InvalidDataException or ArgumentException or InvalidOperationException or UnauthorizedAccessException or PlatformNotSupportedException)
        {
            ToolOutput.PrintError(FailureText.Of(failure));
        }
        catch (Exception failure)
        {
            ToolOutput.PrintError($"Internal error: {failure.GetType().Name}: {failure.Message}");
        }

        return Failure;
    }

    /// <summary>The first signal asks for an orderly end; a second one has its usual effect.</summary>
    private static PosixSignalRegistration CancelOn(PosixSignal signal, CancellationTokenSource stop) => PosixSignalRegistration.Create(signal, context =>
    {
        if (stop.IsCancellationRequested)
            return;
        context.Cancel = true;
        stop.Cancel();
    });

    /// <summary>An unknown word explains more than what is missing because of it.</summary>
    private static string Clearest(IReadOnlyList<ParseError> errors)
    {
        ParseError error = errors.FirstOrDefault(e => e.Message.Contains("Unrecognized", StringComparison.Ordinal)) ?? errors[0];
        return error.Message.EndsWith('.') ? error.Message : $"{error.Message}.";
    }

    private static string NameOf(CommandResult command) =>
        command.Parent is CommandResult parent ? $"{NameOf(parent)} {command.Command.Name}" : ToolCommand.Name;
}
